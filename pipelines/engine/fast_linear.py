"""Linear layers through oneDNN while sampling on a CPU in float32.

`F.linear` multiplies through MKL, which at the widths of a decoding step reaches 50 to 80 % of what oneDNN reaches on
the same cores (AMD Zen 3, 16 to 256 rows, from the same weights). So oneDNN does it here. Weights in oneDNN's own order
of memory would be another fifth faster, but would be held twice: weights that were loaded from a file stay mapped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS_AT_A_TIME = 8
"""oneDNN makes and keeps code for every number of rows it meets: measured, 50 MB for a run that meets them all."""


@contextlib.contextmanager
def fast_linear(model: nn.Module) -> Iterator[None]:
    """Inside the block, plain `nn.Linear` modules of a float32 model on a CPU multiply by oneDNN; no others change."""
    backend: Any = torch.backends.mkldnn
    is_there = backend.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    changed = [module for module in model.modules() if is_there and _is_plain(module)]
    try:
        for module in changed:
            vars(module)["forward"] = _forward(module)
        yield
    finally:
        for module in changed:
            vars(module).pop("forward", None)


def _is_plain(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether it is exactly `nn.Linear`, changed by nobody, with weights that oneDNN takes."""
    if type(module) is not nn.Linear or "forward" in vars(module):
        return False
    weight = module.weight
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.is_contiguous()


def _forward(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    multiply: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise

    def forward(input: Tensor) -> Tensor:
        missing = -input.shape[-2] % _ROWS_AT_A_TIME
        padded = F.pad(input, (0, 0, 0, missing)) if missing else input
        output = multiply(padded, module.weight, module.bias, "none", [], "")
        return output[..., : input.shape[-2], :]

    return forward
