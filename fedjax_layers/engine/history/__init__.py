"""What a run leaves on the host while it goes on: arrays per round and evaluation, and the files they grow in."""
