"""Algorithms that make each client's model from all clients': mixed by weights, or emitted by a hypernetwork."""
