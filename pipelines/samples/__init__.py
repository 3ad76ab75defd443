"""Verified samples of tasks: drawn from a policy, reproducibly, into a store that nothing loses."""

from pipelines.samples.drawing import Ask, build_asks, draw, seeded
from pipelines.samples.policies import Conversation, LocalPolicy, Policy
from pipelines.samples.store import read_samples

__all__ = ["Ask", "Conversation", "LocalPolicy", "Policy", "build_asks", "draw", "read_samples", "seeded"]
