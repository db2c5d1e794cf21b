"""A data set's columns: its registered description, readers and checks of its files, and the cache."""
