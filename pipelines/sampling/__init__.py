"""Completions drawn from a policy for tasks, reproducibly."""

from pipelines.sampling.tasks import sample_tasks, sample_training_tasks

__all__ = ["sample_tasks", "sample_training_tasks"]
