"""Train the same policy on the same samples by several methods and seeds, and say which did best and by how much.

    python scripts/compare_methods.py --config configs/compare-methods.yaml

Writes comparison.json and report.html; runs that are done and intact are skipped, so the same command goes on after a
stop.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.run.stage_command import build_parser, guarded


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__ or "", config=Path("configs/compare-methods.yaml"))
    arguments = parser.parse_args(argv)

    def body() -> int:
        from pipelines.comparison import compare, load_comparison

        root = arguments.run or Path("runs") / arguments.config.stem
        return compare(load_comparison(arguments.config, arguments.overrides), root)

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())
