"""Verified samples of tasks: drawn from a policy, reproducibly, into a store that nothing loses.

    draw(policy, asks, settings, seed=…)   verified samples, a task's at a time
    build_asks(tasks, examples, …)         tasks and the prompts they are asked under, one by one
    LocalPolicy(model, tokenizer)          a model in this process as a policy
    read_samples(folder)                   what a store holds, by task, read when it is asked for

A name is loaded when it is asked for: a store is read without torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Ask": "drawing",
    "build_asks": "drawing",
    "draw": "drawing",
    "Conversation": "policies",
    "LocalPolicy": "policies",
    "Policy": "policies",
    "read_samples": "store",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
