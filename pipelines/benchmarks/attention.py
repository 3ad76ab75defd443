"""The attention benchmark: a probe that keeps scores only, beside the model's plain eager forward pass.

Takes a model's name and a length; leaves medians over alternating rounds and each side's peak memory, in MB, from
processes of their own.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pipelines.attention import TokenSequence, probe_scores
from pipelines.attention.capture import forward
from pipelines.benchmarks.isolation import alone
from pipelines.models import load_model
from pipelines.run.provenance import provenance

_PEAK_ROUNDS = 3


def compare(name: str, tokens: int, rounds: int) -> dict[str, Any]:
    """Seconds of both sides and their ratio, peaks, and what the probe needs more beside one layer's maps."""
    seconds: dict[str, list[float]] = alone(_alternate, name, tokens, rounds)
    peaks = {
        side: statistics.median(alone(_peak_mb, side, name, tokens) for _ in range(_PEAK_ROUNDS)) for side in seconds
    }
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    return {
        "seconds": medians,
        "ratio": medians["probe_scores"] / medians["eager_forward"],
        "peak_mb": peaks,
        "extra_mb": peaks["probe_scores"] - peaks["eager_forward"],
        "layer_mb": alone(_layer_mb, name, tokens),
        "tokens": tokens,
        "rounds": seconds,
        **provenance(),
    }


def _sides(name: str, tokens: int) -> dict[str, Callable[[], Any]]:
    model, tokenizer = load_model(name)
    ids = tuple(int(token) for token in np.random.default_rng(0).integers(100, len(tokenizer), size=tokens))
    groups = tuple((position,) for position in range(tokens))
    sequence = TokenSequence(ids=ids, prefix_tokens=0, groups=groups, split="text", prefix="none")

    def eager_forward() -> None:
        model.set_attn_implementation("eager")
        forward(model, torch.tensor([ids]), keep=1)
        model.set_attn_implementation("sdpa")

    return {"eager_forward": eager_forward, "probe_scores": lambda: probe_scores(model, tokenizer, sequence)}


def _alternate(name: str, tokens: int, rounds: int) -> dict[str, list[float]]:
    sides = _sides(name, tokens)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 1):  # the first is a warm-up
        for side, run in list(sides.items())[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            run()
            if turn:
                seconds[side].append(time.perf_counter() - started)
    return seconds


def _peak_mb(side: str, name: str, tokens: int) -> float:
    _sides(name, tokens)[side]()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _layer_mb(name: str, tokens: int) -> float:
    model, _ = load_model(name)
    return float(model.config.num_attention_heads * tokens**2 * 4 / 1e6)
