from __future__ import annotations

import random

from pipelines import seeds


def test_a_stream_is_that_of_its_seed_and_label():
    assert seeds.rng(7, "range/train").getstate() == random.Random("7/range/train").getstate()


def test_each_label_and_each_seed_has_a_stream_of_its_own():
    draws = {seeds.rng(seed, label).random() for seed in (0, 1) for label in ("replay", "family cap")}
    assert len(draws) == 4
