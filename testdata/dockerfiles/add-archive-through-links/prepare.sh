mkdir -p in/var/run/made in/sbin in/tmp; echo hi > in/var/run/made/file; echo t > in/sbin/tool
tar --owner=0 --group=0 -cf a.tar -C in var/run/made/file sbin/tool
rm -r in
