"""Trackers such as TensorBoard, which are told of a run's records as they are written; they never stop a run."""
