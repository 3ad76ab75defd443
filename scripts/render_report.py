"""Render the page of a run from its folder alone.

    python scripts/render_report.py runs/default
    python scripts/render_report.py --config configs/default.yaml

Reads what the stages left; a stage that is missing is named with the command that makes it, a file that is damaged by
its name. Writes report.html.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.run.stage_command import build_parser, run_stage
from pipelines.config import Config
from pipelines.run.folder import Run
from pipelines.run.stages import REPORT


def work(config: Config, run: Run) -> dict[str, Any]:
    from pipelines.report import render_report

    return render_report(config, run)


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__ or "")
    parser.add_argument("folder", nargs="?", type=Path, metavar="RUN", help="run folder, with its own config.yaml")
    arguments = parser.parse_args(argv)
    if arguments.folder:
        if arguments.run:
            parser.error("the run folder is named twice; leave out --run or RUN")
        arguments.run, arguments.config = arguments.folder, arguments.folder / "config.yaml"
    return run_stage(REPORT, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
