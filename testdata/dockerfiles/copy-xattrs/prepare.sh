$PYTHON -c 'import os; os.setxattr("src/f", "user.note", b"one\xff"); os.setxattr("src", "user.dir", b"2")'
