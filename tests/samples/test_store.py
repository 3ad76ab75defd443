from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipelines.errors import DataError, RunError
from pipelines.samples import store
from tests.made import RIGHT, make_sample

ASKED = ({"role": "user", "content": "\ud800 \u2028 é"},)
DECODING = {"max_new_tokens": 8, "generation": {}}


def batch(task_id: str = "range/1-3", first: int = 0, **settings) -> store.Batch:
    samples = (
        make_sample(
            "[1, 2\n\x1b[31m\u2028", index, task_id=task_id, messages=ASKED, decoding=DECODING, token_ids=(1, 2)
        )
        for index in range(first, first + 2)
    )
    shared = {"messages": list(ASKED), "decoding": DECODING, "seed": 0}
    return store.Batch(settings={**shared, **settings}, samples=tuple(samples))


def test_what_is_stored_comes_back_from_every_process(tmp_path: Path):
    stored = [batch("a"), batch("b"), batch("a", first=2)]
    for process, one in enumerate(stored):
        store.append(tmp_path, process % 2, one)
    assert sorted(store.read_batches(tmp_path), key=str) == sorted(stored, key=str)


def test_samples_are_read_by_task_and_in_the_order_of_their_indices(tmp_path: Path):
    for one in (batch("a", first=2), batch("b"), batch("a")):
        store.append(tmp_path, 0, one)
    found = store.read_samples(tmp_path)
    assert [sample.index for sample in found["a"]] == [0, 1, 2, 3]
    assert found["b"] == list(batch("b").samples)


def test_a_torn_last_line_is_cut_off_and_the_rest_kept(tmp_path: Path):
    store.append(tmp_path, 0, batch("a"))
    whole = (tmp_path / "00000.jsonl").read_bytes()
    for length in (1, 20, len(whole) - 1):
        (tmp_path / "00000.jsonl").write_bytes(whole + whole[:length])
        assert store.repair(tmp_path) == 1
        assert (tmp_path / "00000.jsonl").read_bytes() == whole
    assert store.repair(tmp_path) == 0


@pytest.mark.parametrize("damage", [b"not JSON", b"{}", b'{"settings": {}, "samples": []}', b"\xff\xfe", b"[]"])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, damage: bytes):
    for task_id in ("a", "b", "c"):
        store.append(tmp_path, 0, batch(task_id))
    file = tmp_path / "00000.jsonl"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([lines[0], damage, lines[2], b""]))
    with pytest.raises(DataError, match=r"00000.jsonl:2: not a batch of samples"):
        list(store.read_batches(tmp_path))


def test_a_sample_stored_twice_is_named(tmp_path: Path):
    store.append(tmp_path, 0, batch("a"))
    store.append(tmp_path, 1, batch("a", first=1))
    with pytest.raises(DataError, match=r"00001.jsonl:1: samples of 'a' stand here twice"):
        list(store.read_batches(tmp_path))


def test_the_same_sample_of_other_settings_is_another(tmp_path: Path):
    store.append(tmp_path, 0, batch("a"))
    store.append(tmp_path, 0, batch("a", seed=1))
    assert len(list(store.read_batches(tmp_path))) == 2


def test_a_batch_of_two_tasks_is_damaged(tmp_path: Path):
    mixed = batch("a").samples + batch("b").samples
    store.append(tmp_path, 0, dataclasses.replace(batch("a"), samples=mixed))
    with pytest.raises(DataError, match="not one task's samples"):
        list(store.read_batches(tmp_path))


def test_what_is_not_wanted_is_set_aside_beside_what_was_before_and_counted(tmp_path: Path):
    for task_id in ("a", "b", "c"):
        store.append(tmp_path, 0, batch(task_id))
    assert store.set_aside(tmp_path, lambda one: one.task_id != "a") == 2
    assert store.set_aside(tmp_path, lambda one: one.task_id != "b") == 2
    assert store.set_aside(tmp_path, lambda one: True) == 0
    assert list(store.read_batches(tmp_path)) == [batch("c")]
    assert list(store.read_batches(tmp_path / "unused")) == [batch("a"), batch("b")]


def test_a_changed_sample_takes_the_place_of_the_old_one(tmp_path: Path):
    for process, task_id in enumerate("ab"):
        store.append(tmp_path, process, batch(task_id))
    changed = list(store.rewrite(tmp_path, lambda sample: dataclasses.replace(sample, verdict=RIGHT)))
    assert len(changed) == 4
    found = store.read_samples(tmp_path)
    assert {sample.verdict for own in found.values() for sample in own} == {RIGHT}


def test_a_second_holder_of_the_folder_is_refused(tmp_path: Path):
    with (
        store.locked(tmp_path),
        pytest.raises(RunError, match="is in use by another process that samples"),
        store.locked(tmp_path),
    ):
        pass
    with store.locked(tmp_path):
        pass


def test_a_process_that_outlived_its_run_keeps_the_next_one_off(tmp_path: Path):
    with store.locked(tmp_path, 1), store.locked(tmp_path), pytest.raises(RunError, match="is in use"):
        store.refuse_others(tmp_path)
    with store.locked(tmp_path):
        store.refuse_others(tmp_path)
