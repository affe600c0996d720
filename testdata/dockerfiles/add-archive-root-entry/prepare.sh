mkdir in; echo x > in/x; chmod 700 in
tar --owner=9 --group=9 -cf a.tar -C in .
rm -r in
