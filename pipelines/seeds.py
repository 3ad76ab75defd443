"""Random streams that are named: each draw has one of its own, so that a new draw changes no other."""

from __future__ import annotations

import random


def rng(seed: int, label: str) -> random.Random:
    """The stream of a run's seed and a label, as in `rng(config.seed, "replay")`: the same two, the same numbers."""
    return random.Random(f"{seed}/{label}")  # noqa: S311 - reproducible, not secret
