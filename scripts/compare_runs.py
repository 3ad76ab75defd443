"""Runs side by side: methods on the same samples and seeds, or the finished runs of one experiment.

    python scripts/compare_runs.py --config configs/compare-methods.yaml
    python scripts/compare_runs.py runs/default runs/default-1 runs/default-2

A config is run: each method with each seed, then comparison.json and report.html say which did best and by how much;
runs that are done and intact are skipped, so the same command goes on after a stop. Run folders are only read: mean and
range of every held-out rate, printed as a Markdown table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.command import build_parser, guarded


def main(argv: Sequence[str] | None = None) -> int:
    default = Path("configs/compare-methods.yaml")
    parser = build_parser(__doc__ or "", config=default)
    parser.add_argument("folders", nargs="*", type=Path, metavar="RUN", help="a finished run's folder")
    arguments = parser.parse_args(argv)
    if arguments.folders and (arguments.config != default or arguments.run or arguments.overrides):
        parser.error("run folders are compared as they are; leave out --config, --run and --set")

    def body() -> int:
        if arguments.folders:
            from pipelines.comparison import load_metrics, summary_table

            print(summary_table(load_metrics(arguments.folders)))
            return 0
        from pipelines.comparison import compare, load_comparison

        root = arguments.run or Path("runs") / arguments.config.stem
        return compare(load_comparison(arguments.config, arguments.overrides), root)

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())
