"""Requests for JSON with what is known of the right answer: procedural families, task files, the handout, splits."""

from pipelines.tasks.handout import Handout, handout_path, load_handout
from pipelines.tasks.prompting import build_prompt, few_shot_examples, solved_examples
from pipelines.tasks.splits import build_tasks, iterate_tasks, write_tasks

__all__ = [
    "Handout",
    "build_prompt",
    "build_tasks",
    "few_shot_examples",
    "handout_path",
    "iterate_tasks",
    "load_handout",
    "solved_examples",
    "write_tasks",
]
