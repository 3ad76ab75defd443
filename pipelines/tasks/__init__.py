"""Requests for JSON with what is known of the right answer: procedural families, task files, the handout, splits."""

from pipelines.tasks.handout import Handout, handout_path, load_handout
from pipelines.tasks.prompting import build_prompt, few_shot_examples
from pipelines.tasks.splits import build_tasks, write_tasks

__all__ = [
    "Handout",
    "build_prompt",
    "build_tasks",
    "few_shot_examples",
    "handout_path",
    "load_handout",
    "write_tasks",
]
