"""Active-learning experiments: rounds driven, recorded, resumed."""
