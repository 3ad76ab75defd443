"""Requests for JSON with what is known of the right answer: procedural families, task files, the handout, splits."""

from pipelines.tasks.handout import Handout, handout_path, load_handout
from pipelines.tasks.prompting import build_messages, worked_examples_of
from pipelines.tasks.splits import build_tasks, write_tasks

__all__ = [
    "Handout",
    "build_messages",
    "build_tasks",
    "handout_path",
    "load_handout",
    "worked_examples_of",
    "write_tasks",
]
