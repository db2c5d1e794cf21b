"""Metrics of the layers of one model or of each client's own, from memory or from the folder of a run."""
