mkdir in; mkfifo in/fifo; mknod in/null c 1 3; : > in/.wh.name
$PYTHON -c 'import os; open("in/x","w"); os.setxattr("in/x", "user.note", b"1")'
tar --xattrs --owner=0 --group=0 -cf a.tar -C in fifo null x
rm -r in
