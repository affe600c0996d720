"""The command line: the only package that prints, reads argv or the environment."""
