"""Measure the policy on held-out tasks, before or after training.

    python scripts/evaluate_policy.py --config configs/default.yaml --phase after

Reads samples/tasks.jsonl (and adapter/ for `after`); writes evaluation/<phase>.jsonl and metrics.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.run.stage_command import build_parser, run_stage
from pipelines.config import Config
from pipelines.run.folder import Run
from pipelines.run.stages import EVALUATE


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__ or "")
    parser.add_argument("--phase", choices=list(EVALUATE), default="before", help="which policy (default: %(default)s)")
    arguments = parser.parse_args(argv)

    def work(config: Config, run: Run) -> dict[str, Any]:
        from pipelines.evaluation.held_out import evaluate

        return evaluate(config, run, arguments.phase)

    return run_stage(EVALUATE[arguments.phase], work, arguments)


if __name__ == "__main__":
    sys.exit(main())
