"""Say how well the labelers of a run agree.

    python scripts/compare_labelers.py --config configs/default.yaml

Reads labels/*.jsonl; prints Markdown tables and writes labels/agreement.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.run.stage_command import build_parser, guarded, open_run


def main(argv: Sequence[str] | None = None) -> int:
    arguments = build_parser(__doc__ or "").parse_args(argv)

    def body() -> int:
        from pipelines.preferences.agreement import compare_labelers, render_agreement

        config, run = open_run(arguments)
        report = compare_labelers(config, run)
        print(render_agreement(report))
        stale = report["stale_labels"]
        print(f"\n{stale} labels of former samples left out → {run.labels / 'agreement.json'}")
        return 0

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())
