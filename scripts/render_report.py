"""Render the page of a run from its folder alone.

    python scripts/render_report.py --config configs/default.yaml

Reads what the stages left; a stage that is missing is named with the command that makes it. Writes report.html.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.command import main_of
from pipelines.config import Config
from pipelines.rundir import RunDir
from pipelines.stages import REPORT


def work(config: Config, run: RunDir) -> dict[str, Any]:
    from pipelines.report import render_report

    return render_report(config, run)


def main(argv: Sequence[str] | None = None) -> int:
    return main_of(REPORT, work, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
