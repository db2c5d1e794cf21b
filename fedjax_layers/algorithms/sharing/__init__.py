"""Algorithms that share some layers: FedAvg, and those that keep layers at the clients by a fixed rule or by scores."""
