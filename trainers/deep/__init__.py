"""Where torch lives; imported on a worker only."""
