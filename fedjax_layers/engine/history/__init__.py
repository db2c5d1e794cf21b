"""The history of a run on the host: arrays per round and evaluation, and the files to which they are appended."""
