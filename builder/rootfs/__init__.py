"""Trees and layers: entries, tables of contents, views, tar in both directions, overlay diffs."""
