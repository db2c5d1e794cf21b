"""Changes of the clients' data: bad examples, and changes during a run."""
