from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pipelines.report.page import _suffixes, _worked
from pipelines.rundir import RunDir


def write_pair(run: Path, after: dict[str, float]) -> dict:
    reference = {"chosen_logp": -20.0, "rejected_logp": -30.0}
    pair = {"prompt": [{"role": "user", "content": "?"}], "chosen": "[1]", "rejected": "[1", "beta": 0.1}
    (run / "training").mkdir()
    (run / "training" / "worked_pair.json").write_text(
        json.dumps({**pair, "reference": reference, "before": reference, "after": after})
    )
    return _worked(RunDir(run))


def test_a_pairs_numbers_go_through_the_formula(tmp_path: Path):
    steps = write_pair(tmp_path, {"chosen_logp": -5.0, "rejected_logp": -45.0})["steps"]
    assert steps["before"]["loss"] == pytest.approx(math.log(2))
    # 0.1 × ((−5 + 20) − (−45 + 30)) = 3; −log σ(3) = 0.04859
    assert steps["after"]["margin"] == pytest.approx(3)
    assert steps["after"]["loss"] == pytest.approx(0.048587, abs=1e-6)


def test_a_pair_ranked_very_wrong_has_a_loss_as_large_as_its_margin(tmp_path: Path):
    steps = write_pair(tmp_path, {"chosen_logp": -20_000.0, "rejected_logp": -30.0})["steps"]
    assert steps["after"]["loss"] == pytest.approx(1998)


def test_rounds_are_told_in_their_order():
    assert _suffixes({"train": {}, "train_10": {}, "train_2": {}, "sample": {}}) == ["_2", "_10", ""]
