"""Images in files, both ways: OCI layouts, docker-load archives, and root filesystems without an image around them."""
