mkfifo -m 600 src/fifo
mknod -m 660 src/char c 1 3
mknod src/block b 7 200
