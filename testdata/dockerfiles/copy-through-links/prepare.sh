mkdir dir
echo a>dir/a
ln -s a dir/ln
ln -s /nope dir/dangling
ln -s ../.. dir/up
echo f>f
ln -s f l2
ln -s dir l3
ln -s /f abs
mkdir dir/.h
touch dir/.h/.x
