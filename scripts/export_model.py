"""Make a folder of the trained model for others: adapter or merged weights, card, metrics, figures.

    python scripts/export_model.py --config configs/default.yaml --output my-model --merged

Reads adapter/, metrics.json and figures/ of the run. With --push-to-hub the folder, once it is saved here, also goes to
the Hub; text that people wrote into its card there stays.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.run.stage_command import build_parser, guarded, open_run


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__ or "")
    parser.add_argument("--output", type=Path, help="the folder to write (default: export/ in the run folder)")
    parser.add_argument("--merged", action="store_true", help="the whole model with the adapter merged into it")
    parser.add_argument("--push-to-hub", metavar="REPO", help="also upload the folder to this Hub repository")
    arguments = parser.parse_args(argv)

    def body() -> int:
        from pipelines.preferences.publishing import push_folder
        from pipelines.release.export import export_model

        config, run = open_run(arguments)
        folder = arguments.output or run.root / "export"
        facts = export_model(config, run, folder, merged=arguments.merged)
        if arguments.push_to_hub:
            facts["pushed_to"] = push_folder(folder, arguments.push_to_hub, "model")
        print(f"export: {', '.join(f'{name} {value}' for name, value in facts.items())} → {folder}")
        return 0

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())
