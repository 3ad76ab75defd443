"""A person as a labeler: two answers, one key.

Reads comparisons, and keys from a terminal; returns decisions. Blind: neither score nor verdict nor other labels are
shown, and which completion stands on top is shuffled by the seed. `u` takes back the last label, also one of an earlier
sitting, by a retraction.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines import seeds
from pipelines.preferences.labelers.labels import Choice, Comparison, Decision
from pipelines.preferences.labelers.terminal import Terminal, visible
from pipelines.records import Sample

_KEYS = "1 the first   2 the second   t tie   s skip   u undo   q quit"
_SHOWN: dict[str, int] = {"1": 0, "2": 1}
_NEITHER: dict[str, Choice] = {"t": "tie", "s": "abstain"}
_RULE = "=" * 72


class HumanLabeler:
    """Somebody at a terminal, who may stop at any time."""

    def __init__(
        self, person: str, terminal: Terminal, seed: int, *, name: str = "human", earlier: Sequence[Comparison] = ()
    ) -> None:
        """`earlier` are the comparisons labelled in former sittings, oldest first; undo reaches back to them."""
        self.name = name
        self.settings: dict[str, Any] = {"person": person}
        self._terminal, self._seed, self._earlier = terminal, seed, earlier

    def decide(self, comparisons: Sequence[Comparison]) -> Iterator[Decision]:
        """Decisions and retractions as the keys come."""
        waiting, done = deque(comparisons), list(self._earlier)
        total = len(waiting) + len(done)
        while waiting:
            comparison = waiting[0]
            order = _order(comparison, self._seed)
            self._terminal.write(_question(comparison, order, f"{len(done) + 1} of {total}"))
            started = time.monotonic()
            key = self._await_key(can_undo=bool(done))
            if key == "q":
                return
            seconds = time.monotonic() - started
            if key == "u":
                waiting.appendleft(done.pop())
                yield Decision(comparison=waiting[0], label="retracted", seconds=seconds, tokens=None)
                continue
            yield Decision(
                comparison=comparison,
                label=_NEITHER[key] if key in _NEITHER else order[_SHOWN[key]],
                seconds=seconds,
                tokens=None,
                detail={"shown_first": order[0]},
            )
            done.append(waiting.popleft())

    def _await_key(self, *, can_undo: bool) -> str:
        """A key that means something; `q` at the end of the input."""
        while True:
            key = self._terminal.read_key()
            if key is None:
                return "q"
            if key == "u" and not can_undo:
                self._terminal.write("nothing to undo")
            elif key in _SHOWN or key in _NEITHER or key in ("u", "q"):
                return key
            else:
                self._terminal.write(f"keys: {_KEYS}")


def _order(comparison: Comparison, seed: int) -> tuple[Choice, Choice]:
    """Which completion is shown on top, and which below."""
    swap = seeds.rng(seed, f"{comparison.id}/shown").random() < 0.5
    return ("second", "first") if swap else ("first", "second")


def _question(comparison: Comparison, order: tuple[Choice, Choice], progress: str) -> str:
    sides = {"first": comparison.first, "second": comparison.second}
    answers = [f"Answer {number}\n{_answer(sides[side])}" for number, side in enumerate(order, start=1)]
    request = f"Request {progress}\n{visible(comparison.task.request)}"
    return "\n".join([_RULE, request, "", answers[0], "", answers[1], "", f"Which is better?   {_KEYS}"])


def _answer(side: Sample) -> str:
    ended = "" if side.finish_reason == "stop" else "\n  [cut off by the length limit]"
    return visible(side.completion) + ended
