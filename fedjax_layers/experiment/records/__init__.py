"""The run directory: the files of a run, their writers and readers."""
