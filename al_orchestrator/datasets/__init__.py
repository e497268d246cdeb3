"""Readers of sources, each into a manifest and a packed image file."""
