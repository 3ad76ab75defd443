"""Many files into one collection: counted once, sorted by question, bad ones named and the rest kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.errors import DataError, RunError
from pipelines.reflections import gather, write_reflections


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "reflections.jsonl").read_text().splitlines()]


def test_there_is_a_row_for_each_answer_with_what_it_came_from(write, tmp_path: Path):
    write_reflections(gather([write("in/a.json", {"Why?": "Because.", "How?": " "}, name="Ada")]), tmp_path)
    (row,) = rows(tmp_path)
    assert row == {
        "question": "Why?", "answer": "Because.", "name": "Ada",
        "run": "default", "written": "2026-05-04", "source": "a.json",
    }  # fmt: skip


def test_the_rows_load_as_a_dataset(write, tmp_path: Path):
    from datasets import load_dataset

    files = [write("a.json", {"Why?": "\x1b[0m\ud800"}), write("b.json", {"Why?": "Because."}, name="Ada")]
    write_reflections(gather(files), tmp_path)
    file, cache = str(tmp_path / "reflections.jsonl"), str(tmp_path / "cache")
    loaded = load_dataset("json", data_files=file, split="train", cache_dir=cache)
    assert loaded["answer"][:] == ["Because.", "\x1b[0m\ufffd"]
    assert loaded["name"][:] == ["Ada", None]


def test_one_name_among_megabytes_of_answers_still_loads(write, tmp_path: Path):
    from datasets import load_dataset

    long = {f"{number}?": "x" * 100_000 for number in range(100)}
    files = [write("a.json", long), write("b.json", {**long, "0?": "y"}), write("c.json", name="Ada")]
    write_reflections(gather(files), tmp_path)
    file, cache = str(tmp_path / "reflections.jsonl"), str(tmp_path / "cache")
    loaded = load_dataset("json", data_files=file, split="train", cache_dir=cache)
    assert (len(loaded), loaded[0]["name"], loaded[200]["answer"]) == (201, "Ada", "x" * 100_000)


def test_no_name_is_stored_unless_the_writer_gave_one(write, tmp_path: Path):
    write_reflections(gather([write("folder-of-grace/a.json", {"Why?": "Because."}, name="  ")]), tmp_path)
    assert rows(tmp_path)[0]["name"] is None
    stored = "".join((tmp_path / f"reflections.{kind}").read_text() for kind in ("html", "jsonl"))
    assert "grace" not in stored


def test_a_file_given_twice_is_counted_once_and_said(write, tmp_path: Path):
    path = write("a.json")
    (tmp_path / "link.json").symlink_to(path)
    gathered = gather([path, path, tmp_path / "link.json"])
    assert (len(gathered.responses), gathered.repeated) == (1, 2)
    assert gathered.notices[1] == f"{tmp_path / 'link.json'}: given twice; counted once"


def test_an_export_in_two_files_is_counted_once_and_said(write, tmp_path: Path):
    first, second = write("a.json", {"Why?": "Because."}), write("b.json", {"Why?": "Because."})
    second.write_text(json.dumps(json.loads(second.read_text()), indent=2, sort_keys=True))
    gathered = gather([first, second])
    assert (len(gathered.responses), gathered.repeated) == (1, 1)
    assert gathered.notices == (f"{second}: the same export as {first}; counted once",)


def test_the_same_answers_by_two_people_are_two_responses(write):
    files = [write("a.json", {"Why?": "Because."}, name="Ada"), write("b.json", {"Why?": "Because."}, name="Jun")]
    assert len(gather(files).responses) == 2


def test_a_bad_file_costs_one_line_and_nothing_else(write, tmp_path: Path):
    gathered = gather([write("a.json"), tmp_path / "gone.json", write("b.json"), tmp_path])
    assert (len(gathered.responses), gathered.unread) == (2, 2)
    assert [line.partition(": ")[0] for line in gathered.notices] == [str(tmp_path / "gone.json"), str(tmp_path)]


def test_questions_stand_as_in_the_form_that_most_answered(write):
    stray = write("a.json", {"Stray?": "1", "How?": "2"})
    usual = [write(f"{name}.json", {"Why?": name, "How?": ""}) for name in "bc"]
    assert gather([stray, *usual]).questions() == ["Why?", "How?", "Stray?"]


def test_a_question_broken_over_lines_is_the_same_question(write):
    assert gather([write("a.json", {"Why\n so?": "1"}), write("b.json", {"Why so? ": "2"})]).questions() == ["Why so?"]


def test_nothing_is_written_when_no_file_could_be_read(tmp_path: Path):
    with pytest.raises(DataError, match="none of 1 files could be read, so nothing was written; name files"):
        write_reflections(gather([tmp_path / "gone.json"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_takes_no_files_is_named(write):
    with pytest.raises(RunError, match=r"/proc/out: cannot be written .*; name another folder with --output"):
        write_reflections(gather([write("a.json")]), Path("/proc/out"))


def test_a_failed_write_leaves_no_half_a_file(write, tmp_path: Path):
    (tmp_path / "out" / "reflections.jsonl").mkdir(parents=True)
    with pytest.raises(RunError, match="cannot be written"):
        write_reflections(gather([write("a.json")]), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["reflections.jsonl"]
