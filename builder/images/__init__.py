"""The tools around a build: whole images from anywhere, to anywhere, looked at, compared and changed."""
