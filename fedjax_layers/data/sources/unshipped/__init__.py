"""Data sets that cannot be part of the package, since they are too large or need an application.

Each reads the files as their authors distribute them. Where no checksum is published, only counts and forms are
checked.
"""
