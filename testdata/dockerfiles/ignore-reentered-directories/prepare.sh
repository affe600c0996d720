chmod 750 dir
chmod 711 dir/in other
