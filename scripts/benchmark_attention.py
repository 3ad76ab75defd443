"""Time and memory of a probe that keeps scores only, beside the model's plain eager forward pass.

    python scripts/benchmark_attention.py --model bundled --tokens 2048

Prints medians over alternating rounds, each side's peak memory in a process of its own, and last one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.context
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from pipelines.command import guarded

_PEAK_ROUNDS = 3


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", default="bundled", help="`bundled`, a folder or a Hub id (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=2048, help="length of the sequence (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each side, alternating (default: %(default)s)")
    arguments = parser.parse_args(argv)
    return guarded(lambda: _report(arguments))


def _report(arguments: argparse.Namespace) -> int:
    from pipelines.rundir import provenance

    context = multiprocessing.get_context("spawn")
    seconds = _alone(context, _alternate, (arguments.model, arguments.tokens, arguments.rounds))
    peaks = {
        side: statistics.median(
            _alone(context, _peak, (side, arguments.model, arguments.tokens)) for _ in range(_PEAK_ROUNDS)
        )
        for side in seconds
    }
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    layer_mb = _layer_mb(arguments.model, arguments.tokens)
    extra_mb = peaks["probe_scores"] - peaks["eager_forward"]
    ratio = medians["probe_scores"] / medians["eager_forward"]
    print(f"{arguments.tokens} tokens, median of {arguments.rounds} alternating rounds")
    for side, median in medians.items():
        print(f"  {side:14} {median:7.2f} s   peak {peaks[side]:6.0f} MB")
    print(f"  ratio {ratio:.2f}; {extra_mb:.0f} MB more, one layer's maps are {layer_mb:.0f} MB")
    result = {"seconds": medians, "ratio": ratio, "peak_mb": peaks, "extra_mb": extra_mb, "layer_mb": layer_mb}
    print(json.dumps({**result, "tokens": arguments.tokens, "rounds": seconds, **provenance()}))
    return 0


def _alone(context: multiprocessing.context.SpawnContext, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The result of `work` in a fresh process, whose peak memory is nobody else's."""
    with context.Pool(1) as pool:
        result = pool.apply(work, arguments)
        pool.close()
        pool.join()
    return result


def _sides(name: str, tokens: int) -> dict[str, Callable[[], Any]]:
    import numpy as np
    import torch

    from pipelines.attention import TokenSequence, probe_scores
    from pipelines.attention.capture import forward
    from pipelines.models import load_model

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


def _peak(side: str, name: str, tokens: int) -> float:
    _sides(name, tokens)[side]()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _layer_mb(name: str, tokens: int) -> float:
    from pipelines.models import load_model

    model, _ = load_model(name)
    return float(model.config.num_attention_heads * tokens**2 * 4 / 1e6)


if __name__ == "__main__":
    sys.exit(main())
