mkdir -p empty tree/opt/none
