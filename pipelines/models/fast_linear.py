"""Linear layers through oneDNN on a CPU in float32, to sample and to train beside them.

`F.linear` multiplies through MKL, which at the widths of a decoding step reaches 50 to 80 % of what oneDNN reaches on
the same cores (AMD Zen 3, 16 to 256 rows, from the same weights), and at those of a training step of a few pairs 70 to
95 % (200 to 400 rows, both ways). So oneDNN does it here. Weights in oneDNN's own order of memory would be another
fifth faster, but would be held twice: weights that were loaded from a file stay mapped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_ROWS_AT_A_TIME = 8
"""oneDNN makes and keeps code for every number of rows it meets: measured, 50 MB for a run that meets them all."""


@contextlib.contextmanager
def fast_linear(model: nn.Module) -> Iterator[None]:
    """Inside the block, plain `nn.Linear` modules of a float32 model on a CPU multiply by oneDNN; no others change.

    Gradients flow through to their inputs. A module whose own weights are being trained, or that runs under autocast,
    multiplies as ever.
    """
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
    def forward(input: Tensor) -> Tensor:
        weight, bias = module.weight, module.bias
        if not torch.is_grad_enabled():
            return _multiply(input, weight, bias)
        is_trained = weight.requires_grad or (bias is not None and bias.requires_grad)
        if is_trained or torch.is_autocast_enabled("cpu"):
            return F.linear(input, weight, bias)
        output: Tensor = _Frozen.apply(input, weight, bias)  # type: ignore[no-untyped-call]
        return output

    return forward


class _Frozen(torch.autograd.Function):
    """x · Wᵀ + b whose weights have no gradient."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _multiply(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _multiply(gradients[0], weight.t(), None), None, None


def _multiply(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`input` (…, row, in) times the transpose of `weight` (out, in), plus `bias` (out)."""
    missing = -input.shape[-2] % _ROWS_AT_A_TIME
    padded = F.pad(input, (0, 0, 0, missing)) if missing else input
    output: Tensor = torch.ops.mkldnn._linear_pointwise(padded, weight, bias, "none", [], "")
    return output[..., : input.shape[-2], :]
