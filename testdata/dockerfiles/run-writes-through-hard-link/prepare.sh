ln tree/a tree/b
