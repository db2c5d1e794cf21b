"""The reader of data in the shapes of Hugging Face: Parquet shards, ``save_to_disk`` folders, and flwr's partitions.

``pieces`` finds the files with their split and client, ``columns`` says what their columns hold, and ``reader`` makes
the data set. The package ``datasets`` is not needed.
"""
