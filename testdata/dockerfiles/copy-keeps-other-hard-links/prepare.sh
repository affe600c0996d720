ln src/a src/b
