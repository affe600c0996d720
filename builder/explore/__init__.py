"""What is in an image, file by file and layer by layer: for ``pybuild explore``, as a page or as data."""
