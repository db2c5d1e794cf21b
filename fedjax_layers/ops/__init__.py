"""Pure functions on any pytree of stacked clients; each is usable alone."""
