"""Capture the attention maps of the handout's sequence: every layer, every head, the zeros proved.

    python scripts/probe_attention.py --config configs/default.yaml --phase before

Reads the handout (and adapter/ for `after`); writes attention/<phase>.safetensors, .json, .svg and .png.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.command import build_parser, run_stage
from pipelines.config import Config
from pipelines.rundir import RunDir
from pipelines.stages import PROBE


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__ or "")
    parser.add_argument("--phase", choices=list(PROBE), default="before", help="which policy (default: %(default)s)")
    arguments = parser.parse_args(argv)

    def work(config: Config, run: RunDir) -> dict[str, Any]:
        from pipelines.attention.handout import probe_handout

        return probe_handout(config, run, arguments.phase)

    return run_stage(PROBE[arguments.phase], work, arguments)


if __name__ == "__main__":
    sys.exit(main())
