"""Rates of several runs, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.errors import DataError
from pipelines.evaluation.spread import load_metrics, spread, spread_table


def metrics(**exact: int) -> dict:
    rows = {name: {m: {"count": count, "total": 10} for m in ("valid", "exact")} for name, count in exact.items()}
    return {"after": {"bare": {"overall": {}, **rows}}, "trained_families": ["range", "words"]}


RUNS = [metrics(range=10, words=4, record=5), metrics(range=8, words=6, record=1)]


def test_families_together_are_rated_by_their_completions():
    assert spread(RUNS, "bare", ["range", "words"], "exact").rates == (0.7, 0.7)
    assert str(spread(RUNS, "bare", ["record"], "exact")) == "30 % (10 % to 50 %)"


def test_the_table_has_each_family_and_both_groups():
    lines = spread_table(RUNS).splitlines()
    assert lines[0] == "| family | bare, valid | bare, exact |"
    assert [line.split(" | ")[0] for line in lines[2:7]] == [
        "| range", "| words", "| record *", "| trained on, together", "| never trained on, together"
    ]  # fmt: skip
    assert lines[5].endswith("70 % (70 % to 70 %) |")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ("{}", "nothing was measured after training"),
        (json.dumps(metrics(range=1)), "has other families"),
    ],
)
def test_a_run_that_does_not_fit_is_named(tmp_path: Path, content: str, said: str):
    for name, text in (("one", json.dumps(RUNS[0])), ("two", content)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(text)
    with pytest.raises(DataError, match=rf"two/metrics\.json: .*{said}"):
        load_metrics([tmp_path / "one", tmp_path / "two"])
