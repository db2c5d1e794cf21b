"""What becomes of the clients' data afterwards: bad examples, and changes in the course of a run."""
