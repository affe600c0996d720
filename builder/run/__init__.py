"""RUN in a sandbox."""
