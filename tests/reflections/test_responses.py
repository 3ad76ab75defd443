"""Reading one file: what the format means, and one clear line for whatever does not meet it."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import DataError
from pipelines.reflections import Answer, Response, read_response


def test_a_response_is_read_as_it_was_written(write):
    path = write(
        "a.json", {"Why?": "Because.", "How?": ""}, handout="ours", name=" Ada ", written="2026-05-04T09:30:00"
    )
    assert read_response(path) == Response(
        run="default",
        handout="ours",
        written=datetime.datetime(2026, 5, 4, 9, 30),
        name="Ada",
        answers=(Answer(question="Why?", text="Because."), Answer(question="How?", text="")),
    )


@pytest.mark.parametrize("name", [None, "", " \n", "\u200b"])
def test_a_blank_name_is_no_name(write, name: str | None):
    assert read_response(write("a.json", name=name)).name is None


def test_a_name_may_be_left_out(write):
    path = write("a.json", name="Ada")
    tree = json.loads(path.read_text())
    del tree["name"]
    path.write_text(json.dumps(tree))
    assert read_response(path).name is None


def test_a_key_that_a_later_form_adds_is_passed_over(write):
    assert read_response(write("a.json", language="en")).run == "default"


def test_a_byte_order_mark_is_passed_over(write):
    path = write("a.json")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_response(path).run == "default"


def test_half_a_surrogate_pair_becomes_a_replacement_character(write):
    assert read_response(write("a.json", {"Why?": "\ud83d and \ud83d\ude42"})).answers[0].text == "\ufffd and 🙂"


def test_an_answer_of_100_000_characters_is_whole(write):
    assert read_response(write("a.json", {"Why?": "x" * 100_000})).answers[0].text == "x" * 100_000


def test_malformed_json_is_named_with_line_and_column(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('{"format": "closing-questions/1",\n "run": }')
    with pytest.raises(DataError, match=r"a\.json:2: not JSON \(unexpected character at column 9\); export it again"):
        read_response(path)


def test_another_encoding_is_named_with_line_and_byte(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes('{\n"name": "José"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.json:2: not UTF-8 \(byte 0xe9 at offset 14\); save it as UTF-8"):
        read_response(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "closing-questions/2"}, "format must be 'closing-questions/1', got 'closing-questions/2'"),
        ({"run": None}, "run must be a text that is not blank, got None"),
        ({"handout": 3}, "handout must be a text or null, got 3"),
        ({"name": ["Ada"]}, r"name must be a text or null, got \['Ada'\]"),
        ({"written": "yesterday"}, "written must be an ISO 8601 date such as 2026-05-04, got 'yesterday'"),
        ({"answers": []}, r"answers must be a list of at least one question with its answer, got \[\]"),
        ({"answers": ["Because."]}, r"answers\[0\] must be an object with .*, got 'Because\.'"),
        ({"answers": [{"question": "Why?"}]}, r"answers\[0\]\.answer must be a text, got None"),
        ({"answers": [{"question": " ", "answer": ""}]}, r"answers\[0\]\.question must be a text that is not blank"),
        ({"answers": [{"question": "Why?", "answer": ""}] * 101}, "answers must be a list of at most 100, got 101"),
    ],
)
def test_a_wrong_shape_is_named_by_its_field(write, fields: dict[str, Any], message: str):
    with pytest.raises(DataError, match=rf"a\.json: {message}.*; export it again"):
        read_response(write("a.json", **fields))


@pytest.mark.parametrize("document", ["[]", "3", '"text"', "null"])
def test_a_document_that_is_no_object_is_refused(tmp_path: Path, document: str):
    (tmp_path / "a.json").write_text(document)
    with pytest.raises(DataError, match="the file must be one JSON object"):
        read_response(tmp_path / "a.json")


def test_a_refused_value_is_quoted_short_and_without_terminal_codes(write):
    with pytest.raises(DataError) as refused:
        read_response(write("\x1b[31m.json", format="\x1b]0;title\x07" + "x" * 100_000))
    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()


def test_a_file_over_16_mib_is_refused_unread(tmp_path: Path):
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, 16 * 2**20 + 1)
    with pytest.raises(DataError, match=r"a\.json: must be at most 16 MiB, is larger"):
        read_response(path)


def test_what_is_no_file_is_named_with_what_to_do(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (
        ("", "a folder; name the files in it"),
        ("gone.json", "no such file; check its name"),
        ("pipe", "neither a file nor a folder"),
        ("loop", r"cannot be read \(Too many levels"),
        ("x" * 300, r"cannot be read \(File name too long"),
    ):
        with pytest.raises(DataError, match=message):
            read_response(tmp_path / name)
