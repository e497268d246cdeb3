"""How to learn: trainers over packed images."""
