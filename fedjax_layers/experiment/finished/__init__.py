"""What finished and unfinished runs have measured, read from their folders and put side by side."""
