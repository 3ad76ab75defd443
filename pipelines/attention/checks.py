"""What must hold of every attention map, measured layer by layer; a map that breaks it is an error.

NumPy only, so that maps from a file can be checked as well as maps from a model. Works in row blocks, head by head on
threads, because a layer at 2,048 tokens is 150 MB that nobody should copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Float

from pipelines.errors import DataError

Checks = dict[str, float | bool]

ROW_SUM_TOLERANCE = {"float32": 1e-5, "float64": 1e-5, "float16": 5e-3, "bfloat16": 2e-2}
"""How far a row may be from 1, by the model's dtype: weights are rounded to it after the softmax."""
RECOMPUTED_TOLERANCE = {name: max(1e-5, tolerance) for name, tolerance in ROW_SUM_TOLERANCE.items()}
_BLOCK_ROWS = 128


def check_layer(
    weights: Float[np.ndarray, "head query key"],
    visible: Bool[np.ndarray, "query key"],
    *,
    sink: Float[np.ndarray, "head query"] | None = None,
    masked: bool = True,
    dtype: str = "float32",
) -> Checks:
    """Finite; rows sum to 1; what the mask hides is exactly 0. DataError if not.

    A learned sink's share, which must come from elsewhere than the rows, counts towards their sum.
    `hidden_max` is the largest weight that the layer's mask hides and `future_max` the largest above the diagonal: both
    must be 0.0 to the bit, because softmax of a masked score underflows to exactly 0. Without a mask the future is
    measured, and may be anything.
    """
    full = bool(np.array_equal(visible, np.tri(len(visible), dtype=bool)))
    causal = full or not np.triu(visible, k=1).any()
    taken = np.zeros(weights.shape[:2], dtype=np.float32) if sink is None else sink
    with ThreadPoolExecutor() as pool:
        heads = pool.map(lambda head: _measure(weights[head], visible, taken[head], full=full), range(len(weights)))
        row_sum_error, hidden_max, future_max = (float(worst) for worst in np.max(list(heads), axis=0))
    measured: Checks = {
        "finite": bool(np.isfinite(row_sum_error)),
        "row_sum_error": row_sum_error,
        "hidden_max": hidden_max,
        "future_max": future_max,
    }
    holds = {
        "finite": bool(np.isfinite(row_sum_error)),
        "row_sum_error": row_sum_error <= ROW_SUM_TOLERANCE[dtype],
        "hidden_max": hidden_max == 0.0,
        "future_max": not masked or (causal and future_max == 0.0),
    }
    _require(holds, measured)
    return measured


def check_recomputed(
    weights: Float[np.ndarray, "head query key"],
    visible: Bool[np.ndarray, "query key"],
    logits: Float[np.ndarray, "head query key"],
    *,
    sink: Float[np.ndarray, "head query"] | None = None,
    dtype: str = "float32",
) -> Checks:
    """The weights are the softmax of the products of queries and keys that the mask shows. DataError if not.

    `sink` is the share of a learned sink, computed from its parameter: what it takes, the row has less.
    """
    shown = np.where(visible, logits.astype(np.float64), -np.inf)
    exponentials = np.exp(shown - shown.max(-1, keepdims=True))
    expected = exponentials / exponentials.sum(-1, keepdims=True)
    if sink is not None:
        expected *= 1 - sink[..., None].astype(np.float64)
    measured: Checks = {"recomputed_difference": float(np.abs(weights - expected).max())}
    _require({"recomputed_difference": measured["recomputed_difference"] <= RECOMPUTED_TOLERANCE[dtype]}, measured)
    return measured


def merge_checks(checks: Iterable[Checks]) -> Checks:
    """The worst of each check over layers."""
    merged: Checks = {}
    for measured in checks:
        for name, value in measured.items():
            worst = min if isinstance(value, bool) else max
            merged[name] = worst(merged.get(name, value), value)
    return merged


def _measure(
    weights: Float[np.ndarray, "query key"],
    visible: Bool[np.ndarray, "query key"],
    sink: Float[np.ndarray, " query"],
    *,
    full: bool,
) -> Float[np.ndarray, " measured=3"]:
    """(largest distance of a row from 1, largest hidden weight, largest weight above the diagonal) of one head.

    `full` says that the mask hides the future and nothing else.
    """
    measured = []
    for first in range(0, len(weights), _BLOCK_ROWS):
        rows, last = weights[first : first + _BLOCK_ROWS], min(first + _BLOCK_ROWS, len(weights))
        future = np.maximum(_largest(np.triu(rows[:, first:last], k=1)), _largest(rows[:, last:]))
        hidden = future if full else _largest(rows[~visible[first:last]])
        summed = rows if future != 0 else rows[:, :last]  # what was found to be 0 adds nothing
        row_sums = np.vecdot(summed, np.ones(summed.shape[1], summed.dtype))  # faster than sum(-1)
        measured.append((np.abs(row_sums + sink[first:last] - 1).max(), hidden, future))
    worst: np.ndarray = np.max(measured, axis=0)  # unlike Python's, NumPy's maximum keeps a NaN
    return worst


def _largest(values: Float[np.ndarray, ...]) -> float:
    """The largest absolute value, 0 of none."""
    # As a rule all are 0; no bit set says so in one quick pass, whatever NaN would do to a comparison.
    if not values.size or not values.view(f"u{values.itemsize}").max():
        return 0.0
    return float(np.abs(values).max())


def _require(holds: dict[str, bool], measured: Checks) -> None:
    broken = [name for name, held in holds.items() if not held]
    if broken:
        raise DataError(
            f"attention maps break {', '.join(broken)} ({measured}); the model's attention is not causal softmax"
        )
