"""From a data set's files to its columns: what is registered of it, read, checked, and kept for the next time."""
