from __future__ import annotations

import io
import sys

import pytest

from pipelines.records import Completion
from pipelines.samples.progress import SamplingProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def rows(count: int, passed: int) -> list[tuple[Completion, bool]]:
    made = Completion(
        task_id="a",
        index=0,
        prompting="bare",
        text="",
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=7,
        logprob_nats=None,
        seed=0,
    )
    return [(made, place < passed) for place in range(count)]


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, is_shown: bool = True) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with SamplingProgress(20, is_shown=is_shown) as progress:
        progress._bar.mininterval = 0
        progress.add(rows(4, passed=1), spared=8)
    return stream.getvalue()


def test_the_line_tells_count_speed_pass_rate_and_time_left(monkeypatch: pytest.MonkeyPatch):
    line = shown(monkeypatch, Terminal())
    assert "4/12" in line  # 8 of the 20 are not needed after all
    assert "tokens/s, 25% pass" in line
    assert "<" in line  # the time left stands behind it
    assert "\n" not in line


def test_nothing_is_shown_where_nobody_watches(monkeypatch: pytest.MonkeyPatch):
    assert shown(monkeypatch, io.StringIO()) == ""
    assert shown(monkeypatch, Terminal(), is_shown=False) == ""
