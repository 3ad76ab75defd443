from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipelines.errors import DataError, RunError
from pipelines.records import Completion
from pipelines.samples import journal

SETTINGS = {"seed": 0, "messages": [{"role": "user", "content": "\ud800 \u2028 é"}]}


def batch(task_id: str = "range/1-3", first: int = 0, count: int = 2, **settings) -> journal.Batch:
    completions = tuple(
        Completion(
            task_id=task_id,
            index=index,
            prompting="bare",
            text="[1, 2\n\x1b[31m\u2028",
            finish_reason="stop",
            prompt_tokens=3,
            completion_tokens=4,
            logprob_nats=-1.25,
            seed=index,
        )
        for index in range(first, first + count)
    )
    return journal.Batch(settings={**SETTINGS, **settings}, completions=completions)


def test_what_is_stored_comes_back_from_every_process(tmp_path: Path):
    stored = [batch("a"), batch("b"), batch("a", first=2)]
    for process, one in enumerate(stored):
        journal.append(tmp_path, process % 2, one)
    assert sorted(journal.read(tmp_path), key=str) == sorted(stored, key=str)


def test_a_torn_last_line_is_cut_off_and_the_rest_kept(tmp_path: Path):
    journal.append(tmp_path, 0, batch("a"))
    whole = (tmp_path / "00000.jsonl").read_bytes()
    for length in (1, 20, len(whole) - 1):
        (tmp_path / "00000.jsonl").write_bytes(whole + whole[:length])
        assert journal.repair(tmp_path) == 1
        assert (tmp_path / "00000.jsonl").read_bytes() == whole
    assert journal.repair(tmp_path) == 0


@pytest.mark.parametrize("damage", [b"not JSON", b"{}", b'{"settings": {}, "completions": []}', b"\xff\xfe", b"[]"])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, damage: bytes):
    for task_id in ("a", "b", "c"):
        journal.append(tmp_path, 0, batch(task_id))
    file = tmp_path / "00000.jsonl"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([lines[0], damage, lines[2], b""]))
    with pytest.raises(DataError, match=r"00000.jsonl:2: not a batch of completions"):
        journal.read(tmp_path)


def test_a_sample_stored_twice_is_named(tmp_path: Path):
    journal.append(tmp_path, 0, batch("a"))
    journal.append(tmp_path, 1, batch("a", first=1))
    with pytest.raises(DataError, match=r"00001.jsonl:1: samples of 'a' stand here twice"):
        journal.read(tmp_path)


def test_the_same_sample_of_other_settings_is_another(tmp_path: Path):
    journal.append(tmp_path, 0, batch("a"))
    journal.append(tmp_path, 0, batch("a", seed=1))
    assert len(journal.read(tmp_path)) == 2


def test_a_batch_of_two_tasks_is_damaged(tmp_path: Path):
    mixed = batch("a").completions + batch("b").completions
    journal.append(tmp_path, 0, dataclasses.replace(batch("a"), completions=mixed))
    with pytest.raises(DataError, match="not one task's completions"):
        journal.read(tmp_path)


def test_a_second_holder_of_the_folder_is_refused(tmp_path: Path):
    with (
        journal.locked(tmp_path),
        pytest.raises(RunError, match="is in use by another process that samples"),
        journal.locked(tmp_path),
    ):
        pass
    with journal.locked(tmp_path):
        pass


def test_a_process_that_outlived_its_run_keeps_the_next_one_off(tmp_path: Path):
    with (
        journal.locked(tmp_path, 1),
        journal.locked(tmp_path),
        pytest.raises(RunError, match="is in use by another process"),
    ):
        journal.refuse_others(tmp_path)
    with journal.locked(tmp_path):
        journal.refuse_others(tmp_path)
