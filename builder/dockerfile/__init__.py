"""The Dockerfile language: text in, typed instructions out (dockerfile.md 1 and 2).

The package is pure: it opens no file, reads no clock and no environment, and knows nothing about images or layers.
Import the modules directly; nothing is re-exported here, so that a warm build pays only for what it uses.
"""
