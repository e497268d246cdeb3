"""Losses of pretraining, one idea a file: tensors in, () out."""
