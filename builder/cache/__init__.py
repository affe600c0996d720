"""What was built before: blobs, selectors, references."""
