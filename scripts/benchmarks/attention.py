"""The attention benchmark: a probe that keeps scores only, beside the model's plain eager forward pass.

Returns medians over alternating rounds and each side's peak memory, in MB, from processes of their own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.fresh_process import run_in_fresh_process
from pipelines.attention import TokenSequence, probe_scores
from pipelines.attention.capture import forward
from pipelines.models import load_model
from pipelines.run.processes import peak_rss_mb
from pipelines.run.provenance import provenance

_PEAK_ROUNDS = 3


def measure_probe(name: str, tokens: int, rounds: int) -> dict[str, Any]:
    """Seconds of both sides and their ratio, peaks, and what the probe needs more beside one layer's maps."""
    seconds, heads = run_in_fresh_process(_alternate, name, tokens, rounds)
    peaks = {
        side: statistics.median(run_in_fresh_process(_peak_mb, side, name, tokens) for _ in range(_PEAK_ROUNDS))
        for side in seconds
    }
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    return {
        "seconds": medians,
        "ratio": medians["probe_scores"] / medians["eager_forward"],
        "peak_mb": peaks,
        "extra_mb": peaks["probe_scores"] - peaks["eager_forward"],
        "layer_mb": heads * tokens**2 * 4 / 1e6,
        "tokens": tokens,
        "rounds": seconds,
        **provenance(),
    }


def _sides(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: int) -> dict[str, Callable[[], Any]]:
    ids = tuple(int(token) for token in np.random.default_rng(0).integers(100, len(tokenizer), size=tokens))
    sequence = TokenSequence.of_ids(ids)

    def eager_forward() -> None:
        model.set_attn_implementation("eager")
        forward(model, torch.tensor([ids]), keep=1)
        model.set_attn_implementation("sdpa")

    return {"eager_forward": eager_forward, "probe_scores": lambda: probe_scores(model, tokenizer, sequence)}


def _alternate(name: str, tokens: int, rounds: int) -> tuple[dict[str, list[float]], int]:
    """(seconds of each side's rounds, heads of a layer)."""
    model, tokenizer = load_model(name)
    sides = _sides(model, tokenizer, tokens)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 1):  # the first is a warm-up
        for side, run in list(sides.items())[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            run()
            if turn:
                seconds[side].append(time.perf_counter() - started)
    return seconds, int(model.config.num_attention_heads)


def _peak_mb(side: str, name: str, tokens: int) -> int:
    _sides(*load_model(name), tokens)[side]()
    return peak_rss_mb()
