"""The verb `verify`: a round's samples anew, and completions that somebody else made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from pipelines.records import Sample, Task, dump_lines
from pipelines.samples.store import read_batches, read_samples
from tests.stages.conftest import do, load_run


def drawn(run: Path) -> list[Sample]:
    return [sample for own in read_samples(load_run(run).round(1).samples).values() for sample in own]


def a_task(run: Path) -> Task:
    return next(load_run(run).iterate_tasks("train"))


@pytest.fixture
def give(arguments: list[str], tmp_path: Path) -> Callable[..., list[str]]:
    """Arguments of `verify` for a file of these rows."""

    def write(*rows: dict[str, Any] | str) -> list[str]:
        file = tmp_path / "mine.jsonl"
        file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return [*arguments, "--completions", str(file)]

    return write


def test_verdicts_follow_tasks_that_were_changed_by_hand(arguments: list[str], planted: Path, capsys):
    tasks = load_run(planted).iterate_tasks()
    anything = [dataclasses.replace(task, targets=()) for task in tasks]
    (planted / "tasks.jsonl").write_text(dump_lines(anything))
    before = drawn(planted)
    do(arguments, "verify")
    after = drawn(planted)
    # of each task's four samples two end and are lists, and no right answer is known any more
    assert "verified 16, passed 8" in capsys.readouterr().out
    assert {one.verdict.exact_match for one in after} == {None}
    assert [dataclasses.replace(one, verdict=two.verdict) for one, two in zip(before, after, strict=True)] == after


def test_completions_of_others_are_verified_under_the_tasks_own_request(give, planted: Path):
    task = a_task(planted)
    do(give({"task_id": task.id, "completion": task.target}, {"task_id": task.id, "completion": "no"}), "verify")
    one, two = drawn(planted)
    assert (one.verdict.passed, two.verdict.passed, one.index, two.index) == (True, False, 0, 1)
    assert (one.source, one.messages, one.token_ids) == ("zero_shot", task.messages, None)


def test_messages_that_are_given_are_kept_and_stand_in_the_dataset(give, arguments: list[str], planted: Path):
    task = a_task(planted)
    asked = [{"role": "system", "content": "Answer in JSON."}, *task.messages]
    rows = [{"task_id": task.id, "completion": text, "messages": asked} for text in (task.target, "[0]")]
    do(give(*rows), "verify")
    do(arguments, "pair")
    (file,) = load_run(planted).round(1).dataset.glob("samples/*.parquet")
    table = Dataset.from_parquet(str(file), cache_dir=str(planted / "cache"))
    assert table["prompt"] == [asked, asked]
    assert set(table["source"]) == {"few_shot"}


def test_what_was_there_is_set_aside_and_not_lost(give, planted: Path):
    before = drawn(planted)
    do(give({"task_id": a_task(planted).id, "completion": "[]"}), "verify")
    aside = [one for batch in read_batches(load_run(planted).round(1).samples / "unused") for one in batch.samples]
    assert len(drawn(planted)) == 1
    assert sorted(aside, key=str) == sorted(before, key=str)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "must hold task_id and completion"),
        ('{"task_id": "x"}', "must hold task_id and completion"),
        ('{"task_id": "x", "completion": "[]", "score": 1}', "no more than"),
        ('{"task_id": "x", "completion": 5}', "completion must be text"),
        ('{"task_id": "x", "completion": "[]", "finish_reason": "eos"}', "finish_reason stop or length"),
        ('{"task_id": "x", "completion": "[]", "messages": "hi"}', "messages"),
        ('{"task_id": "nowhere", "completion": "[]"}', "no task 'nowhere'"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_changed(
    give, complaint: Callable[..., str], planted: Path, line: str, said: str
):
    before = drawn(planted)
    good = {"task_id": a_task(planted).id, "completion": "[]"}
    complained = complaint("verify", give(good, line))
    assert "mine.jsonl:2:" in complained
    assert said in complained
    assert drawn(planted) == before


def test_a_round_without_samples_names_what_to_run(complaint: Callable[..., str], arguments: list[str]):
    do(arguments, "tasks")
    assert "run `attend-and-prefer sample --round 1" in complaint("verify", arguments)
