"""The processes that a launcher started for one job: how they find each other, and what refuses them if they do not.

Imports accelerate and torch only when a group is formed.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import gc
import os
import resource
import sys
from typing import TYPE_CHECKING

from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from accelerate import PartialState

_TIMEOUT = datetime.timedelta(days=2)
"""How long a process waits for the others: their shares of the work take unequal time."""


def process_group() -> PartialState:
    """This process's place among those that `accelerate launch` started; alone without a launcher.

    Raises ConfigError when several were launched that do not know of each other.
    """
    import torch  # noqa: PLC0415 - seconds that --help need not pay
    from accelerate import PartialState  # noqa: PLC0415
    from accelerate.utils import parse_flag_from_env  # noqa: PLC0415

    # PartialState does not read ACCELERATE_USE_CPU, and without `cpu` never forms a group of CPU processes.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    state = PartialState(cpu=on_cpu, timeout=_TIMEOUT) if several else PartialState(cpu=on_cpu)
    require_process_group(state)
    return state


def require_process_group(state: PartialState) -> None:
    """Stop a process that was launched as one of several but would work alone over the others' folder."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > 1 and state.num_processes == 1:
        raise ConfigError(
            f"{launched} processes were launched but each is alone; on CPUs set ACCELERATE_USE_CPU=true, on GPUs use "
            "configs/accelerate/multi_gpu.yaml"
        )


def is_main_process() -> bool:
    """Whether this process is the first of those a launcher started, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def release_memory() -> None:
    """Give back what a finished stage held: its objects, and, with glibc, what its allocator kept of them."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def peak_rss_mb() -> int:
    """Largest resident size of this process so far, in MB (Linux counts kilobytes, macOS bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 1_000_000
