mkdir -p a/b/c keep/deep node_modules/p src/node_modules/q docs .github
for f in a/1.md a/b/2.md a/b/c/3.txt README.md LICENSE.md keep/x.log keep/deep/y.log z.log node_modules/p/i src/node_modules/q/i src/main.c docs/i.html docs/keep.md .github/w .env .env.example "sp ace" src/a.tmp src/b.tmp~ '#hash' '!bang'
do echo $f > "$f"
done
cat > .dockerignore <<'X'
# comment
*.md
!README*.md
README-secret.md
**/node_modules/
*.log
**/*.log
!keep/**/y.log
  docs  
!docs/keep.md
.env*
!.env.example
/a/b
!a/b/c
**/*.tmp*
#hash
\#hash
\!bang
./.github/
X
