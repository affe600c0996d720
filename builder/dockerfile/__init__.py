"""Dockerfile text to typed instructions; pure."""
