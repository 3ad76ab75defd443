"""From verdicts to rates with intervals, per prompting style and family. Pure arithmetic; no model, no files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from pipelines.records import Prompting, Verdict

MEASURES = {"valid": "parses", "schema_valid": "schema_valid", "exact": "exact"}
"""Name of a rate → the verdict's tier it counts."""
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


def summarise(rows: Iterable[tuple[Prompting, str, Verdict]]) -> dict[str, Any]:
    """`{prompting: {"overall" | family: {measure: rate}}}` from (prompting, family, verdict) rows.

    A verdict whose task does not define a tier counts neither for nor against that tier's rate.
    """
    counts: dict[str, dict[str, dict[str, list[int]]]] = {}
    for prompting, family, verdict in rows:
        for group in ("overall", family):
            measures = counts.setdefault(prompting, {}).setdefault(group, {name: [0, 0] for name in MEASURES})
            for name, tier in MEASURES.items():
                passed = getattr(verdict, tier)
                if passed is not None:
                    measures[name][0] += passed
                    measures[name][1] += 1
    return {
        prompting: {
            group: {name: dataclasses.asdict(Rate.of(*measures[name])) for name in MEASURES}
            for group, measures in groups.items()
        }
        for prompting, groups in counts.items()
    }
