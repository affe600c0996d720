ln src/a src/b
mkdir src/sub
ln src/a src/sub/c
