mkdir in; echo hi > in/file; ln in/file in/link; ln -s file in/sym; chmod 4711 in/file; mkdir in/dir; chmod 2770 in/dir
tar --sort=name --owner=7 --group=8 -cf plain.tar.txt -C in file link sym dir
mv in/file in/gz; tar --owner=0 --group=0 -czf gz.tgz -C in gz dir
mv in/gz in/bz; tar --owner=0 --group=0 -cjf bz.tbz -C in bz
mv in/bz in/xz; tar --owner=0 --group=0 -cJf xz.txz -C in xz
rm -r in
