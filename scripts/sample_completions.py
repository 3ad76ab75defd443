"""Draw completions of the training tasks from the policy.

    python scripts/sample_completions.py --config configs/default.yaml

Reads samples/tasks.jsonl; writes samples/completions.jsonl.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.run.stage_command import main_of
from pipelines.config import Config
from pipelines.run.folder import Run
from pipelines.run.stages import SAMPLE


def work(config: Config, run: Run) -> dict[str, Any]:
    from pipelines.samples import sample_training_tasks

    return sample_training_tasks(config, run)


def main(argv: Sequence[str] | None = None) -> int:
    return main_of(SAMPLE, work, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
