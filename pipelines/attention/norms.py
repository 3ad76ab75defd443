"""Attention weighed by what it carries: a weight on a key whose value is short moves little.

Takes weights and the lengths of the keys' values behind each head's own output projection; leaves rows that sum to 1
again. Derived, not raw attention. NumPy only.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def norm_weighted(
    weights: Float[np.ndarray, "*heads query key"], value_norms: Float[np.ndarray, "*heads key"]
) -> Float[np.ndarray, "*heads query key"]:
    """A[i, j]·‖value j‖ ÷ its row's sum (Kobayashi et al. 2020, arXiv 2004.10102, equation 3, normalised for reading).

    A row that carries nothing is NaN.
    """
    carried = weights.astype(np.float64) * value_norms[..., None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: np.ndarray = (carried / carried.sum(-1, keepdims=True)).astype(np.float32)
    return shares


def uniform_rows(visible: Bool[np.ndarray, "*layers query key"]) -> Float[np.ndarray, "*layers query key"]:
    """Rows that attend to all they see alike: what every score is measured against."""
    rows: np.ndarray = (visible / np.maximum(visible.sum(-1, keepdims=True), 1)).astype(np.float32)
    return rows
