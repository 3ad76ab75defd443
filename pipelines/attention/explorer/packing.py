"""Arrays one after the other in one deflated block, as the page's script reads them back.

Reads NumPy arrays; returns for each where it stands and how it is coded, and the block as base64.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from jaxtyping import Float

_STEPS = 65534
_UNDEFINED = 65535


class Packer:
    """Each array begins at a multiple of four bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def exact(self, values: Float[np.ndarray, ...]) -> dict[str, Any]:
        """Float32, to the bit."""
        return {"kind": "f32", **self._append(values.astype("<f4").tobytes(), values.size)}

    def quantised(
        self, values: Float[np.ndarray, ...], low: float | None = None, high: float | None = None
    ) -> dict[str, Any]:
        """Steps of a 65,534th of the range, all high bytes before all low ones; NaN has a code of its own."""
        defined = values[np.isfinite(values)]
        low = float(defined.min()) if low is None and defined.size else low or 0.0
        high = float(defined.max()) if high is None and defined.size else high or 0.0
        step = (high - low) / _STEPS or 1.0
        codes = np.where(np.isfinite(values), np.rint((np.nan_to_num(values) - low) / step), _UNDEFINED)
        planes = codes.astype("<u2").ravel().view(np.uint8).reshape(-1, 2).T[::-1]
        return {"kind": "u16", "low": low, "step": step, **self._append(planes.tobytes(), values.size)}

    def block(self) -> str:
        """Everything so far."""
        return base64.b64encode(zlib.compress(bytes(self._bytes), 9)).decode()

    def _append(self, content: bytes, count: int) -> dict[str, Any]:
        self._bytes += b"\0" * (-len(self._bytes) % 4)
        place = {"at": len(self._bytes), "count": count}
        self._bytes += content
        return place
