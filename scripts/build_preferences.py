"""Make preference pairs of the verdicts, and a Hugging Face dataset of it all.

    python scripts/build_preferences.py --config configs/default.yaml

Reads samples/; writes dataset/ (configs pairs, samples and kto). Needs no model.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.command import main_of
from pipelines.config import Config
from pipelines.rundir import RunDir
from pipelines.stages import PAIR


def work(config: Config, run: RunDir) -> dict[str, Any]:
    from pipelines.preferences.dataset import build_dataset

    return build_dataset(config, run)


def main(argv: Sequence[str] | None = None) -> int:
    return main_of(PAIR, work, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
