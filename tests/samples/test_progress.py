from __future__ import annotations

import io
import sys

import pytest

from pipelines.samples.progress import SamplingProgress
from tests.made import RIGHT, WRONG, make_sample


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, is_shown: bool = True) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with SamplingProgress(12, is_shown=is_shown) as progress:
        progress._bar.mininterval = 0
        progress.add([make_sample(verdict=verdict) for verdict in (RIGHT, WRONG, WRONG, WRONG)])
    return stream.getvalue()


def test_the_line_tells_count_speed_pass_rate_and_time_left(monkeypatch: pytest.MonkeyPatch):
    line = shown(monkeypatch, Terminal())
    assert "4/12" in line
    assert "tokens/s, 25% pass" in line
    assert "<" in line  # the time left stands behind it
    assert "\n" not in line


def test_nothing_is_shown_where_nobody_watches(monkeypatch: pytest.MonkeyPatch):
    assert shown(monkeypatch, io.StringIO()) == ""
    assert shown(monkeypatch, Terminal(), is_shown=False) == ""
