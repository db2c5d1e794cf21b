"""Algorithms with a model for each client that is tied to a shared one by a penalty, a distance or a mixture."""
