"""Completions drawn from a policy for tasks, reproducibly."""

from pipelines.sampling.collecting import sample_training_tasks
from pipelines.sampling.policies import Conversation, LocalPolicy
from pipelines.sampling.tasks import sample_tasks, seeded

__all__ = ["Conversation", "LocalPolicy", "sample_tasks", "sample_training_tasks", "seeded"]
