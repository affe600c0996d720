chmod 1777 src/tmp src/tmp/dir
chmod 000 src/tmp/dir/x
