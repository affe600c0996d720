printf '\037\213\010\000 and then nonsense' > broken.tar.gz
