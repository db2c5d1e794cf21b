"""The mesh over which arrays are spread, and the width of the client axis (clients computed at once)."""
