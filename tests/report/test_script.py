"""The script, which needs no more than the run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.conftest import load_script

render_report = load_script("render_report")


def test_a_run_folder_is_all_it_needs(changed: Path, monkeypatch, tmp_path: Path):
    (changed / "report.html").unlink()
    monkeypatch.chdir(tmp_path)
    assert render_report([str(changed)]) == 0
    assert (changed / "report.html").exists()


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path, capsys):
    assert render_report([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "config.yaml") in line


def test_a_run_folder_named_twice_is_a_mistake(tmp_path: Path, capsys):
    with pytest.raises(SystemExit, match="2"):
        render_report([str(tmp_path), "--run", str(tmp_path)])
    assert "named twice" in capsys.readouterr().err
