"""Train the policy on the run's preference pairs with TRL's DPO, or by another of TRL's methods.

    accelerate launch --config_file configs/accelerate/cpu.yaml scripts/train_dpo.py --config configs/default.yaml

Reads dataset/; writes adapter/ (loads with peft) and training/log.json. `training.method` in the config names the
method: dpo (pairs), sft (their chosen sides), kto (every verdict), grpo (samples drawn and scored while it trains).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.run.stage_command import main_of
from pipelines.config import Config
from pipelines.run.folder import Run
from pipelines.run.stages import TRAIN


def work(config: Config, run: Run) -> dict[str, Any]:
    from pipelines.training.policy import train_policy

    return train_policy(config, run)


def main(argv: Sequence[str] | None = None) -> int:
    return main_of(TRAIN, work, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
