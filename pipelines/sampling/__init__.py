"""Completions drawn from a policy for tasks, reproducibly."""

from pipelines.sampling.collecting import sample_training_tasks
from pipelines.sampling.policies import LocalPolicy
from pipelines.sampling.tasks import sample_tasks

__all__ = ["LocalPolicy", "sample_tasks", "sample_training_tasks"]
