"""One module per command besides ``build``: its grammar (``parser``) and what it does (``run``)."""
