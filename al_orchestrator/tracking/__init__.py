"""The mirror people look at."""
