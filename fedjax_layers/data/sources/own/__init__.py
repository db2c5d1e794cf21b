"""A user's own data: tables, arrays, folders of pictures, and whatever TFDS has prepared.

None of these has a layout of files with checksums: the option ``path`` names the data, and every column, class and
client is found in them. What is found can be shown (:func:`~fedjax_layers.data.sources.own.tables.describe`) and
overridden.
"""
