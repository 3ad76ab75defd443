"""The verifier as a labeler: the verdict with the higher tiers is better, equal tiers are a tie. Needs no model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.preferences.labelers.labels import Comparison, Decision
from pipelines.rewards import verify


class VerifierLabeler:
    """Compares the tiers of two verdicts, lexicographically. Never abstains."""

    def __init__(self, *, name: str = "verifier", assert_formats: bool = False) -> None:
        self.name = name
        self.settings: dict[str, Any] = {"assert_formats": assert_formats}
        self._assert_formats = assert_formats

    def decide(self, comparisons: Sequence[Comparison]) -> Iterator[Decision]:
        """One decision per comparison, in order."""
        for comparison in comparisons:
            started = time.perf_counter()
            first, second = (
                verify(side.completion, comparison.task, side.finish_reason, assert_formats=self._assert_formats).tiers
                for side in (comparison.first, comparison.second)
            )
            yield Decision(
                comparison=comparison,
                label="tie" if first == second else "first" if first > second else "second",
                seconds=time.perf_counter() - started,
                detail={"first_tiers": list(first), "second_tiers": list(second)},
            )
