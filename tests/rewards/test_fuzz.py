from __future__ import annotations

import importlib.util
from pathlib import Path


def test_random_bytes_are_accepted_or_rejected_and_nothing_else_happens():
    spec = importlib.util.spec_from_file_location("fuzz", Path(__file__).with_name("fuzz.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    outcomes = module.fuzz(20_000, seed=0)
    assert sum(outcomes.values()) == 20_000
    assert outcomes["accepted"] > 100
    assert "offset outside" not in outcomes
