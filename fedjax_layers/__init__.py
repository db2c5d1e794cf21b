"""fedjax_layers."""
