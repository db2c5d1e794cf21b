"""Covariate shift: functions that change the images of each client in a different way, and keep the labels.

Every shift is a pure function ``(inputs [N, H, W, C], client_of [N], num_clients, seed, *, ...) -> inputs``: a new
array of the same shape and dtype, made once on the host before the pool. Rows without a client (-1, as in a global test
set) stay as they are. Black is 0; white is the largest value in ``inputs`` (255, or 16 for the digits). A new
shift is one more such function and one line in ``FEATURE_SHIFTS``; its options are its keyword-only parameters.

============  ================================================  =============================================
here          elsewhere                                         source
============  ================================================  =============================================
``noise``     NIID-Bench "noise-based feature imbalance"        Li et al., arXiv 2102.02079
``rotation``  rotated MNIST and CIFAR of clustered learning     Ghosh et al., IFCA, arXiv 2006.04088: 4 shifts
``colour``    tint, permuted channels, inversion                none in particular
``blur``      acquisition differences                           none in particular
``contrast``  acquisition differences                           none in particular
============  ================================================  =============================================

Apart from ``noise``, the clients have ``shifts`` different shifts: client c has number ``c * shifts // C``, so that
as many teams of consecutive clients have one each. With ``None`` every client has its own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedjax_layers.data.feature_shift.colour import colour, contrast
from fedjax_layers.data.feature_shift.rotation import rotation
from fedjax_layers.data.feature_shift.sharpness import blur, noise

__all__ = ["FEATURE_SHIFTS", "blur", "colour", "contrast", "noise", "rotation"]

FEATURE_SHIFTS: dict[str, Callable[..., np.ndarray]] = {
    "blur": blur,
    "colour": colour,
    "contrast": contrast,
    "noise": noise,
    "rotation": rotation,
}
