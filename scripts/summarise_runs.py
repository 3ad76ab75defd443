"""Several runs of one experiment side by side, e.g. of three seeds: the mean and the range of every held-out rate.

    python scripts/summarise_runs.py runs/default runs/default-1 runs/default-2

Reads each run's metrics.json; prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.run.stage_command import guarded


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder")
    arguments = parser.parse_args(argv)

    def body() -> int:
        from pipelines.evaluation.spread import load_metrics, spread_table

        print(spread_table(load_metrics(arguments.runs)))
        return 0

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())
