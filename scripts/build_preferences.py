"""Make preference pairs of the verdicts, and a Hugging Face dataset of it all.

    python scripts/build_preferences.py --config configs/default.yaml

Reads samples/; writes dataset/ (configs pairs, samples and kto). Needs the tokenizer, not the model. With --push-to-hub
the dataset, once it is saved here, also goes to the Hub; text that people wrote into its card there stays.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.run.stage_command import add_round, build_parser, run_stage
from pipelines.config import Config
from pipelines.run.folder import Run
from pipelines.run.stages import PAIR


def main(argv: Sequence[str] | None = None) -> int:
    parser = add_round(build_parser(__doc__ or ""))
    parser.add_argument("--push-to-hub", metavar="REPO", help="also upload the dataset to this Hub repository")
    arguments = parser.parse_args(argv)

    def work(config: Config, run: Run) -> dict[str, Any]:
        from pipelines.preferences.dataset import build_dataset

        facts = build_dataset(config, run)
        if arguments.push_to_hub:
            from pipelines.preferences.publishing import push_folder

            facts["pushed_to"] = push_folder(run.dataset, arguments.push_to_hub, "dataset")
        return facts

    return run_stage(PAIR, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
