"""Scoring of models on every client's own examples, inside jit, and the names of scores."""
