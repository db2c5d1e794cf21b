"""Data sets that may not, or cannot, come with the package: too large, or given out on application only.

Each reads the files as their authors distribute them. Where no checksum is published, counts and forms are all that
is checked.
"""
