"""What programs import: builds and the images of a store as calls, values and exceptions.

``builder/__init__.py`` exports it and docs/python.md explains it; a test pins names and signatures. The command line
goes the same way. Reads the environment of the process only where nobody gave another one.
"""
