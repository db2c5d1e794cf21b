"""Strict readers of file formats that several data sets share, and log-mel features of recordings."""
