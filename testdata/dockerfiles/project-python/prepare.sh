mkdir .git app/__pycache__
echo g > .git/config
echo m > app/__pycache__/m.pyc
