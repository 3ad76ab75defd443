from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.errors import DataError
from pipelines.tasks.task_files import iterate_task_file


def load(tmp_path: Path, text: str):
    file = tmp_path / "mine.jsonl"
    file.write_text(text, encoding="utf-8")
    return [task for task, _ in iterate_task_file(file)]


def test_fields_arrive_as_json_text(tmp_path: Path):
    (task,) = load(tmp_path, '{"prompt": "p", "schema": {"type": "null"}, "target": null}\n\n')
    assert (task.schema, task.target, task.family) == ('{"type": "null"}', "null", "mine")


def test_absent_schema_and_target_stay_absent(tmp_path: Path):
    (task,) = load(tmp_path, '{"prompt": "p"}')
    assert (task.schema, task.targets, task.few_shot) == (None, (), None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "p",}', "not JSON"),
        ('["p"]', "must be an object with a `prompt`"),
        ('{"schema": {}}', "must be an object with a `prompt`"),
        ('{"prompt": ""}', "prompt must be a text"),
        ('{"prompt": "p", "shema": {}}', "unknown field 'shema'; did you mean 'schema'"),
        ('{"prompt": "p", "schema": {"type": "lisst"}}', "schema"),
        ('{"prompt": "p", "schema": {"$ref": "https://example.com/s.json"}}', "schema"),
        ('{"prompt": "p", "few_shot": [{"role": "assistant", "content": "x"}]}', "the last one the user's"),
        ('{"prompt": "p", "few_shot": "hi"}', "few_shot must be a list"),
        ('{"prompt": [], "target": 1}', "prompt must be a list of"),
        ('{"prompt": "p", "targets": []}', "targets must be a list of accepted values"),
        ('{"prompt": "p", "target": 1, "targets": [1]}', "has both target and targets"),
        ('{"prompt": "p", "schema": {"type": "array"}, "targets": [[], 1]}', "target must be valid under the schema"),
        ('{"prompt": "p", "fences": "dig"}', "fences must be forbid or unwrap"),
    ],
)
def test_a_bad_line_is_named_with_file_and_number(tmp_path: Path, line: str, message: str):
    with pytest.raises(DataError, match=rf"mine.jsonl:2: .*{message}"):
        load(tmp_path, '{"prompt": "fine"}\n' + line)


def test_an_empty_file_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="holds no task"):
        load(tmp_path, "\n\n")


def test_a_task_keeps_its_name_when_lines_are_put_before_it(tmp_path: Path):
    (alone,) = load(tmp_path, '{"prompt": "p"}')
    assert load(tmp_path, '{"prompt": "new"}\n{"prompt": "p"}')[1].id == alone.id


def test_text_that_is_not_unicode_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="mine.jsonl:1: prompt must be Unicode text"):
        load(tmp_path, '{"prompt": "\\ud800"}')


def test_every_accepted_value_arrives_as_json_text_in_its_order(tmp_path: Path):
    (task,) = load(tmp_path, '{"prompt": "p", "targets": [[1, 2], [2, 1], null]}')
    assert (task.targets, task.target) == (("[1, 2]", "[2, 1]", "null"), "[1, 2]")


def test_a_prompt_may_be_a_conversation_that_ends_with_the_user(tmp_path: Path):
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    (task,) = load(tmp_path, json.dumps({"prompt": asked}))
    assert (list(task.messages), task.request) == (asked, "u")
