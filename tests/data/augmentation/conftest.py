import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture
def make_images():
    """A function that makes random images with pixel values 0 .. 255."""

    def make(n=6, height=18, width=18, channels=3, dtype=jnp.float32, seed=0):
        pixels = np.random.default_rng(seed).integers(0, 256, (n, height, width, channels))
        return jnp.asarray(pixels, dtype)

    return make


@pytest.fixture
def numbered():
    """A function that makes copies of one grey image whose pixels are ``1 .. H * W``: each tells where it was."""

    def make(n, height, width):
        return jnp.broadcast_to(jnp.arange(1.0, height * width + 1).reshape(height, width, 1), (n, height, width, 1))

    return make
