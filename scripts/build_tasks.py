"""Draw the tasks of a run and split them by key: worked examples, held out, trained on.

    python scripts/build_tasks.py --config configs/default.yaml

Reads the config, its task files and the handout; writes samples/tasks.jsonl.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.run.stage_command import main_of
from pipelines.config import Config
from pipelines.run.folder import Run
from pipelines.run.stages import TASKS


def work(config: Config, run: Run) -> dict[str, Any]:
    from pipelines.tasks import write_tasks

    return write_tasks(config, run)


def main(argv: Sequence[str] | None = None) -> int:
    return main_of(TASKS, work, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
