"""Conversion of folders in PFLlib's layout, whose files hold pickled dictionaries, to plain arrays.

``convert`` finds the files and writes the new folder. ``unpickling`` is the script of a child process; it is the only
file of the package that unpickles, and nothing imports it.
"""
