"""Tables and pictures of results, for people. Computes nothing."""
