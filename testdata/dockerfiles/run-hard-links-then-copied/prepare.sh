mkdir -p ctx/s
echo 1>ctx/a
ln ctx/a ctx/s/b
ln ctx/a ctx/.c
