"""One line that says how sampling goes: completions, speed, pass rate, time left. Silent where nobody watches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from tqdm import tqdm

from pipelines.records import Sample


class SamplingProgress:
    """To be used in a `with` block; the line vanishes at its end."""

    def __init__(self, expected: int, *, is_shown: bool) -> None:
        """`expected` completions; not shown in other processes than the first, nor where stderr is no terminal."""
        self._bar = tqdm(
            total=expected, desc="sampling", unit=" completions", disable=None if is_shown else True, leave=False
        )
        self._started = time.monotonic()
        self._completions = self._passed = self._tokens = 0

    def __enter__(self) -> SamplingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, samples: Sequence[Sample]) -> None:
        """Samples that have come."""
        self._completions += len(samples)
        self._passed += sum(sample.verdict.passed for sample in samples)
        self._tokens += sum(sample.completion_tokens for sample in samples)
        speed = self._tokens / max(1e-9, time.monotonic() - self._started)
        self._bar.set_postfix_str(
            f"{speed:.0f} tokens/s, {self._passed / max(1, self._completions):.0%} pass", refresh=False
        )
        self._bar.update(len(samples))
