echo i > i; tar --mtime=@0 --sort=name --owner=0 --group=0 -cf dir/a.tar i; rm i
