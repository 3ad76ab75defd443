"""Completions drawn from a policy for tasks, reproducibly."""

from pipelines.sampling.collecting import sample_training_tasks
from pipelines.sampling.policies import Conversation, LocalPolicy
from pipelines.sampling.tasks import sample_seed, sample_tasks

__all__ = ["Conversation", "LocalPolicy", "sample_seed", "sample_tasks", "sample_training_tasks"]
