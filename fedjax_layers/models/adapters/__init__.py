"""One file for each kind of model: Flax Linen, Flax NNX, Equinox, plain functions. Each makes it a ``Network``."""
