chmod 700 private
chmod 2750 private/tmp
