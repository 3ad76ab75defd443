"""From verdicts to rates with intervals: one definition for evaluation, validation and comparison. Pure arithmetic.

`parses`, `schema_valid` and `exact_match` count where the task defines them; `pass_rate` counts every sample, by all
that its task defines.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.records import Source, Verdict

MEASURES = ("parses", "schema_valid", "exact_match", "pass_rate")
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


def rates(verdicts: Sequence[Verdict]) -> dict[str, Rate]:
    """Each measure's rate over the verdicts that define it."""
    found = {name: [getattr(one, name) for one in verdicts] for name in MEASURES if name != "pass_rate"}
    found["pass_rate"] = [one.passed for one in verdicts]
    defined = {name: [passed for passed in column if passed is not None] for name, column in found.items()}
    return {name: Rate.of(sum(column), len(column)) for name, column in defined.items()}


def summarise(rows: Iterable[tuple[Source, str, Verdict]]) -> dict[str, Any]:
    """`{source: {"overall" | family: {measure: rate}}}` from (source, family, verdict) rows."""
    groups: dict[str, dict[str, list[Verdict]]] = {}
    for source, family, verdict in rows:
        for group in ("overall", family):
            groups.setdefault(source, {}).setdefault(group, []).append(verdict)
    return {
        source: {
            group: {name: dataclasses.asdict(rate) for name, rate in rates(verdicts).items()}
            for group, verdicts in families.items()
        }
        for source, families in groups.items()
    }
