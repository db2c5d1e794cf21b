"""A user's own data: tables, arrays, folders of pictures, and sets prepared with TFDS.

These have no layout of files with checksums: the option ``path`` names the data, and columns, classes and clients are
found in them. What is found can be shown (:func:`~fedjax_layers.data.sources.own.tables.describe`) and overridden.
"""
