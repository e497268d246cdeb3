"""Which samples next: query strategies over arrays."""
