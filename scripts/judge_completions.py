"""Let the validator judge every completion.

    python scripts/judge_completions.py --config configs/default.yaml

Reads samples/tasks.jsonl and samples/completions.jsonl; writes samples/verdicts.jsonl. Needs no model.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.run.stage_command import main_of
from pipelines.config import Config
from pipelines.run.folder import Run
from pipelines.run.stages import JUDGE


def work(config: Config, run: Run) -> dict[str, Any]:
    from pipelines.preferences.judging import judge_completions

    return judge_completions(config, run)


def main(argv: Sequence[str] | None = None) -> int:
    return main_of(JUDGE, work, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
