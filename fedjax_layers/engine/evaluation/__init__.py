"""Scores models on every client's own examples, inside jit; what scores are called."""
