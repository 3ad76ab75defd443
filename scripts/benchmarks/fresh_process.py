"""Work in a fresh process, whose peak memory is nobody else's."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


def run_in_fresh_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `work`, a function of a module, from a process started for it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(work, arguments)
        pool.close()
        pool.join()
    return result
