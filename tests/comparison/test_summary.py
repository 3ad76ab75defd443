"""Rates of several finished runs, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.comparison.summary import load_metrics, rates, summary_table
from pipelines.errors import DataError
from tests.stages.conftest import load_script


def rows(**exact: int) -> dict:
    counts = {name: {m: {"count": count, "total": 10} for m in ("valid", "exact")} for name, count in exact.items()}
    return {"bare": {"overall": {}, **counts}}


def metrics(**exact: int) -> dict:
    return {"before": rows(**dict.fromkeys(exact, 1)), "after": rows(**exact), "trained_families": ["range", "words"]}


RUNS = [metrics(range=10, words=4, record=5), metrics(range=8, words=6, record=1)]
TABLE = """\
| held-out tasks | n | bare, valid: before | after | bare, exact: before | after |
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
    assert rates(RUNS, "after", ("bare", "exact"), ["range", "words"]) == [0.7, 0.7]


def test_what_was_not_measured_is_a_dash():
    without = [{**run, "before": {}} for run in RUNS]
    assert "| range | 10 | – | **90 %** (80–100) | – |" in summary_table(without)


def test_run_folders_give_the_table_and_nothing_is_run(folders: list[Path], capsys: pytest.CaptureFixture[str]):
    before = [sorted(folder.iterdir()) for folder in folders]
    assert load_script("compare_runs")([str(folder) for folder in folders]) == 0
    assert capsys.readouterr().out.startswith(TABLE)
    assert [sorted(folder.iterdir()) for folder in folders] == before


def test_run_folders_with_a_config_to_run_are_refused(folders: list[Path], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        load_script("compare_runs")([str(folders[0]), "--config", "configs/default.yaml"])
    assert "--config" in capsys.readouterr().err


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
