chmod 750 src/deep
