"""The script over a class's files: a page, rows, a summary line, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.json"
    answers = [{"question": "Why?", "answer": "Because."}]
    tree = {"format": "closing-questions/1", "run": "default", "handout": None, "written": "2026-05-04", "name": None}
    path.write_text(json.dumps({**tree, "answers": answers}))
    return path


def test_the_script_writes_page_and_rows_and_says_so(script, good: Path, tmp_path: Path, capsys):
    assert script("collect_reflections", [str(good), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["reflections.html", "reflections.jsonl"]
    assert said.err == ""
    assert said.out == (
        "reflections: responses 1, questions 1, answers 1, counted_once 0, not_read 0 → "
        f"{out / 'reflections.html'}, {out / 'reflections.jsonl'}\n"
    )


def test_bad_files_are_named_and_counted_and_the_others_gathered(script, good: Path, tmp_path: Path, capsys):
    bad = tmp_path / "bad\x1b[2J.json"
    bad.write_text("{")
    files = [str(tmp_path / "gone.json"), str(good), str(bad), str(good)]
    assert script("collect_reflections", [*files, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "responses 1, questions 1, answers 1, counted_once 1, not_read 2" in said.out
    assert [line.split(": ", 1)[1].split(" ")[0] for line in said.err.splitlines()] == ["no", "not", "given"]
    assert "\x1b" not in said.err


def test_no_readable_file_is_a_mistake_and_leaves_the_old_page(script, good: Path, tmp_path: Path, capsys):
    assert script("collect_reflections", [str(good), "--output", str(tmp_path / "out")]) == 0
    old = (tmp_path / "out" / "reflections.html").read_bytes()
    assert script("collect_reflections", [str(tmp_path / "gone.json"), "--output", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{tmp_path / 'gone.json'}: no such file; check its name and folder"
    assert lines[1].startswith("error: none of 1 files could be read")
    assert (tmp_path / "out" / "reflections.html").read_bytes() == old


def test_an_output_that_cannot_be_written_is_one_line(complaint, good: Path):
    line = complaint("collect_reflections", [str(good), "--output", "/proc/out"])
    assert line.startswith("error: /proc/out: cannot be written")
