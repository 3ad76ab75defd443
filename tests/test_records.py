from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipelines.errors import DataError
from pipelines.records import Sample, Task, Verdict, dump_lines, load_lines
from tests.made import RIGHT, make_sample, make_task

TASK = Task(
    id="a/1", family="a", key="k", split="train", prompt="p", few_shot=({"role": "user", "content": "\ud800 snow ☃"},)
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
    with pytest.raises(DataError, match=r"tasks.jsonl:1: not a Sample record"):
        load_lines(Sample, file)


def test_undefined_tiers_do_not_count():
    assert Verdict(parses=True, exact_match=False).tiers == (True, False)
    assert Verdict(parses=True).passed
    assert not Verdict(parses=True, schema_valid=False).passed


def test_a_sample_survives_a_file_with_its_verdict(tmp_path: Path):
    file = tmp_path / "samples.jsonl"
    sample = make_sample("\ud800", token_ids=(1, 2), verdict=dataclasses.replace(RIGHT, notes=("lone_surrogate",)))
    file.write_text(dump_lines([sample]), encoding="utf-8")
    assert load_lines(Sample, file) == [sample]


def test_a_task_is_asked_for_by_the_last_words_and_its_first_accepted_value_is_its_target():
    asked = ({"role": "system", "content": "s"}, {"role": "user", "content": "last"})
    task = make_task(prompt=asked, targets=("1", "2"))
    assert (task.messages, task.request, task.target) == (asked, "last", "1")
    assert (TASK.messages, TASK.request, TASK.target) == (({"role": "user", "content": "p"},), "p", None)
