"""Images in files, both ways: OCI layouts and docker archives."""
