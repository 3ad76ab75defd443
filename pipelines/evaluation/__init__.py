"""Held-out behaviour before and after: completions, verdicts, rates with intervals."""

from pipelines.evaluation.rates import Rate, summarise, wilson_interval

__all__ = ["Rate", "summarise", "wilson_interval"]
