mkdir -p in/app; echo hi > in/app/file; chmod 700 in/app
tar --owner=3 --group=4 -cf a.tar -C in app
rm -r in
