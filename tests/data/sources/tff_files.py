"""Writers of SQLite files in the layout of TensorFlow Federated, with hand-made messages ``tf.train.Example``."""

import sqlite3
import struct

LAYOUT = """
CREATE TABLE examples (split_name TEXT NOT NULL, client_id TEXT NOT NULL, serialized_example_proto BLOB NOT NULL);
CREATE INDEX idx_examples_client_id ON examples (client_id);
CREATE INDEX idx_examples_client_id_split ON examples (split_name, client_id);
CREATE TABLE client_metadata (client_id TEXT NOT NULL, split_name TEXT NOT NULL, num_examples INTEGER NOT NULL);
CREATE INDEX idx_metadata_client_id ON client_metadata (client_id);
"""


def varint(number):
    number %= 2**64
    content = b""
    while number > 127:
        content += bytes([number & 127 | 128])
        number >>= 7
    return content + bytes([number])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(values):
    if isinstance(values[0], bytes):
        return field(1, b"".join(field(1, text) for text in values))
    if isinstance(values[0], float):
        return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
    return field(3, field(1, b"".join(map(varint, values))))


def example(**features):
    entries = [field(1, name.encode()) + field(2, feature(values)) for name, values in features.items()]
    return field(1, b"".join(field(1, entry) for entry in entries))


def write_tff(path, rows, layout=LAYOUT):
    """Write rows of split, client and the bytes of an example."""
    database = sqlite3.connect(path)
    database.executescript(layout)
    database.executemany("INSERT INTO examples VALUES (?, ?, ?)", rows)
    for split, client in sorted({row[:2] for row in rows}):
        number = sum(row[:2] == (split, client) for row in rows)
        database.execute("INSERT INTO client_metadata VALUES (?, ?, ?)", (client, split, number))
    database.commit()
    database.close()
    return path
