"""One number for a verdict.

Takes a `Verdict` and a `Scoring`; leaves a score in [0, 1]. Tiers count in order and an earlier one is never bought
with a later one, so for verdicts on one task more tiers passed is a strictly higher score, and 1 means all that the
task defines. Verdicts keep their tiers, so old ones can be scored anew. Verifies nothing itself.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Final

from pipelines.errors import ConfigError
from pipelines.records import TIERS, Verdict


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """Credit for having passed every tier up to this one; each in (0, 1] and above the one before it."""

    parses: float = 0.1
    root_type: float = 0.2
    schema_valid: float = 0.5
    exact_match: float = 1.0

    def __post_init__(self) -> None:
        below = 0.0
        for tier in TIERS:
            credit = getattr(self, tier)
            if not below < credit <= 1:
                rule = f"above {below:g} and at most 1"
                raise ConfigError(f"{tier} must be {rule}, got {credit!r}; let credits rise from tier to tier")
            below = credit


DEFAULT_SCORING: Final = Scoring()


def score(verdict: Verdict, scoring: Scoring = DEFAULT_SCORING) -> float:
    """Credit of the last tier passed before any failed, as a fraction of the credit of the last tier defined."""
    defined = [tier for tier in TIERS if getattr(verdict, tier) is not None]
    passed = list(itertools.takewhile(lambda tier: getattr(verdict, tier), defined))
    return float(getattr(scoring, passed[-1]) / getattr(scoring, defined[-1])) if passed else 0.0
