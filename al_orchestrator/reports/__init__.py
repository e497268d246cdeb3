"""Learning curves, statistics and tables of finished and unfinished runs."""
