mkdir in; echo hi > in/file
tar --owner=3 --group=4 -cf a.tar -C in file
$PYTHON -c 'import zstandard; open("a.tar.zst","wb").write(zstandard.compress(open("a.tar","rb").read()))'
rm -r in a.tar
