"""Rates of several finished runs, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.comparison.summary import load_metrics, rates, summary_table
from pipelines.errors import DataError


def rows(**right: int) -> dict:
    counts = {
        name: {m: {"count": count, "total": 10} for m in ("parses", "exact_match")} for name, count in right.items()
    }
    return {"zero_shot": {"overall": {}, **counts}}


def metrics(**right: int) -> dict:
    return {"before": rows(**dict.fromkeys(right, 1)), "after": rows(**right), "trained_families": ["range", "words"]}


RUNS = [metrics(range=10, words=4, record=5), metrics(range=8, words=6, record=1)]
TABLE = """\
| test tasks | n | zero-shot, parses: before | after | zero-shot, exact match: before | after |
|---|---|---|---|---|---|
| range | 10 | 10 % | **90 %** (80–100) | 10 % | **90 %** (80–100) |
| words | 10 | 10 % | **50 %** (40–60) | 10 % | **50 %** (40–60) |
| record (never trained on) | 10 | 10 % | **30 %** (10–50) | 10 % | **30 %** (10–50) |
| all families trained on | 20 | 10 % | **70 %** (70–70) | 10 % | **70 %** (70–70) |
| all never trained on | 10 | 10 % | **30 %** (10–50) | 10 % | **30 %** (10–50) |
"""


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "one", tmp_path / "two"]
    for folder, run in zip(found, RUNS, strict=True):
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps(run))
    return found


def test_families_together_are_rated_by_their_completions():
    assert rates(RUNS, "after", ("zero_shot", "exact_match"), ["range", "words"]) == [0.7, 0.7]


def test_what_was_not_measured_is_a_dash():
    without = [{**run, "before": {}} for run in RUNS]
    assert "| range | 10 | – | **90 %** (80–100) | – |" in summary_table(without)


def test_run_folders_give_the_table_and_nothing_is_run(folders: list[Path], capsys: pytest.CaptureFixture[str]):
    before = [sorted(folder.iterdir()) for folder in folders]
    assert main(["compare", *map(str, folders)]) == 0
    assert capsys.readouterr().out.startswith(TABLE)
    assert [sorted(folder.iterdir()) for folder in folders] == before


@pytest.mark.parametrize("option", [["--run", "x"], ["--set", "seed=1"]])
def test_run_folders_with_options_of_a_comparison_are_refused(folders: list[Path], option: list[str], capsys):
    assert main(["compare", str(folders[0]), *option]) == 2
    assert "run folders are compared as they are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ("{}", "nothing was measured after training"),
        (json.dumps(metrics(range=1)), "has other families"),
    ],
)
def test_a_run_that_does_not_fit_is_named(folders: list[Path], content: str, said: str):
    (folders[1] / "metrics.json").write_text(content)
    with pytest.raises(DataError, match=rf"two/metrics\.json: .*{said}"):
        load_metrics(folders)


def test_runs_whose_families_were_finished_in_another_order_are_of_one_experiment(folders: list[Path]):
    turned = json.loads((folders[1] / "metrics.json").read_text())
    turned["after"]["zero_shot"] = dict(reversed(turned["after"]["zero_shot"].items()))
    (folders[1] / "metrics.json").write_text(json.dumps(turned))
    assert len(load_metrics(folders)) == 2
