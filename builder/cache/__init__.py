"""What was built before: blobs, selectors, records."""
