mkdir -p d/sub/deep d/other
echo 1>d/sub/a
ln -s nowhere d/ln3
echo nf>d/file
echo fl>d/fln
chmod 750 d/sub
chmod 2755 d/other
