"""Runs the graph and assembles the image."""
