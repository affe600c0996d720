chmod 4755 tool; chmod 2711 dir/sub
