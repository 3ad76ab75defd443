"""From verdicts to rates with intervals: one definition for evaluation, validation and comparison. Pure arithmetic.

`parses`, `schema_valid` and `exact_match` count where the task defines them; `pass_rate` counts every sample, by all
that its task defines.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.records import Verdict

MEASURES = ("parses", "schema_valid", "exact_match", "pass_rate")
MEASURED = {
    "zero_shot": "zero-shot",
    "few_shot": "few-shot",
    "greedy": "zero-shot, greedy",
    "grammar": "zero-shot, under the grammar",
    "greedy_grammar": "zero-shot, greedy under the grammar",
}
"""What rates are of, as `metrics.json` names it and in words."""
Z_95 = 1.959963984540054


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """`count` successes in `total` trials with a 95 % Wilson interval; rate and bounds are None without trials."""

    count: int
    total: int
    rate: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, count: int, total: int) -> Rate:
        """The rate of `count` in `total`."""
        if total == 0:
            return cls(count=0, total=0, rate=None, low=None, high=None)
        low, high = wilson_interval(count, total)
        return cls(count=count, total=total, rate=count / total, low=low, high=high)


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """95 % score interval for a proportion, within [0, 1] (Wilson 1927, JASA 22:209, the unnumbered final formula).

    `count` successes in `total` > 0 independent trials. Unlike the normal interval it does not shrink to a point at
    0 or `total` successes.
    """
    assert 0 <= count <= total
    assert total > 0
    share, z2 = count / total, Z_95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    reach = Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    # At the ends the bound is 0 or 1 exactly; rounding must not put the rate outside its own interval.
    return (0.0 if count == 0 else max(0.0, centre - reach)), (1.0 if count == total else min(1.0, centre + reach))


def rates(verdicts: Iterable[Verdict]) -> dict[str, Rate]:
    """Each measure's rate over the verdicts that define it."""
    counts = _counts()
    for verdict in verdicts:
        _count(verdict, counts)
    return _rates(counts)


def summarise(rows: Iterable[tuple[str, str, Verdict]]) -> dict[str, Any]:
    """`{key of MEASURED: {"overall" | family: {measure: rate}}}` of (key, family, verdict) rows, which are not kept."""
    groups: dict[str, dict[str, dict[str, Counter[bool]]]] = {}
    for source, family, verdict in rows:
        for group in ("overall", family):
            _count(verdict, groups.setdefault(source, {}).setdefault(group, _counts()))
    return {
        source: {
            group: {name: dataclasses.asdict(rate) for name, rate in _rates(counts).items()}
            for group, counts in families.items()
        }
        for source, families in groups.items()
    }


def _counts() -> dict[str, Counter[bool]]:
    """For each measure how many pass and how many fail."""
    return {name: Counter() for name in MEASURES}


def _count(verdict: Verdict, counts: Mapping[str, Counter[bool]]) -> None:
    for name, own in counts.items():
        passed = verdict.passed if name == "pass_rate" else getattr(verdict, name)
        if passed is not None:
            own[passed] += 1


def _rates(counts: Mapping[str, Counter[bool]]) -> dict[str, Rate]:
    return {name: Rate.of(own[True], own.total()) for name, own in counts.items()}
