"""The exact fast geometry below the strategies: arrays in, rows out."""
