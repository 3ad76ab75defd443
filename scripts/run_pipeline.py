"""Do the whole job: probe, sample, judge, pair, train under accelerate, evaluate, report.

    python scripts/run_pipeline.py --config configs/default.yaml

Stages that are done and intact are skipped, so the same command goes on after a stop.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.run.stage_command import build_parser, guarded, open_run
from pipelines.run.walk import run_plan


def main(argv: Sequence[str] | None = None) -> int:
    arguments = build_parser(__doc__ or "").parse_args(argv)

    def body() -> int:
        config, run = open_run(arguments)
        return run_plan(config, run)

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())
