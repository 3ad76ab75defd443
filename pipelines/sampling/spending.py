"""How many more completions a task is worth: a fixed number, or until there is enough to compare.

A pair needs one completion that passes and one that fails. A task that the policy nearly always or nearly never gets
right yields few pairs however often it is asked. So `adaptive` spending asks in steps, stops when a task has enough of
both kinds, gives up on a task that has shown one kind only, and spends on those in between, up to
`samples_per_task`. What is decided for a task depends on its own completions alone: not on other tasks, nor on how many
processes share the work, and a run that goes on decides as if it had not stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.sections import SamplingConfig


def wanted_next(passed: Sequence[bool], settings: SamplingConfig) -> range:
    """Indices of the completions to draw next, empty when the task has all it needs.

    `passed` says of each completion so far, in order, whether it passed.
    """
    have, most = len(passed), settings.samples_per_task
    adaptive = settings.adaptive
    if have >= most or adaptive is None:
        return range(have, most)
    passes = sum(passed)
    failures = have - passes
    has_enough = min(passes, failures) >= adaptive.enough
    is_one_sided = have >= adaptive.give_up_after and min(passes, failures) == 0
    if has_enough or is_one_sided:
        return range(have, have)
    return range(have, min(have + adaptive.step, most))
