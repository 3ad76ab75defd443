from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import DataError
from pipelines.records import Completion, Task, Verdict, dump_lines, load_lines

TASK = Task(
    id="a/1", family="a", key="k", split="train", prompt="p", messages=({"role": "user", "content": "\ud800 snow ☃"},)
)


def test_records_survive_a_file(tmp_path: Path):
    file = tmp_path / "tasks.jsonl"
    file.write_text(dump_lines([TASK, TASK]), encoding="utf-8")
    assert load_lines(Task, file) == [TASK, TASK]


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "a"}', '{"id": "a", "surprise": 1}'])
def test_a_damaged_line_is_named_with_its_number(tmp_path: Path, line: str):
    file = tmp_path / "tasks.jsonl"
    file.write_text(dump_lines([TASK]) + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"tasks.jsonl:2: not a Task record"):
        load_lines(Task, file)


def test_a_file_of_another_kind_of_record_is_refused(tmp_path: Path):
    file = tmp_path / "tasks.jsonl"
    file.write_text(dump_lines([TASK]), encoding="utf-8")
    with pytest.raises(DataError, match=r"tasks.jsonl:1: not a Completion record"):
        load_lines(Completion, file)


def test_undefined_tiers_do_not_count():
    assert Verdict(parses=True, exact=False).tiers == (True, False)
    assert Verdict(parses=True).passed
    assert not Verdict(parses=True, schema_valid=False).passed
