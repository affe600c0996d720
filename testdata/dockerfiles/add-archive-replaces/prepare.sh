mkdir -p in/dir in/to-file; echo f > in/file; echo x > in/dir/x; ln -s file in/link; echo keep > in/dir/keep
tar --owner=0 --group=0 -cf one.tar -C in dir to-file file link
rm -r in; mkdir -p in/dir; echo new > in/link; echo is-file > in/to-file; ln -s dir in/file; echo y > in/dir/y; chmod 700 in/dir
tar --owner=0 --group=0 -cf two.tar -C in dir to-file file link
rm -r in
