"""The user's files: the build context and the sources of ADD."""
