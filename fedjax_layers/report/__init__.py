"""Tables and pictures of results for readers; nothing is computed here."""
