"""Say which of two completions is better: yourself at the terminal (blind), the validator, or a judging model.

    python scripts/label_pairs.py --config configs/default.yaml
    python scripts/label_pairs.py --config configs/default.yaml --labeler validator
    python scripts/label_pairs.py --config configs/default.yaml --labeler judge --model policy

Reads samples/ and dataset/; appends to labels/<name>.jsonl. The same command goes on where it was stopped. The key of a
server, if it wants one, is read from the environment variable JUDGE_API_KEY.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.command import build_parser, guarded, open_run


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__ or "")
    add = parser.add_argument
    add("--labeler", choices=("human", "validator", "judge"), default="human", help="default: %(default)s")
    add("--count", type=int, default=100, help="label the first so many comparisons (default: %(default)s)")
    add("--name", help="name of the label file (default: the labeler's, with the person or the model)")
    add("--person", help="human: who labels (default: the login name)")
    add("--model", default="policy", help="judge: policy, trained, a folder or a Hub id (default: %(default)s)")
    add("--server", metavar="URL", help="judge: an OpenAI-compatible API that has --model")
    arguments = parser.parse_args(argv)

    def body() -> int:
        from pipelines.preferences.labelers import LabelerOptions, build_labeler
        from pipelines.preferences.labelers.labels import label_missing, label_path, load_comparisons

        options = LabelerOptions(**{field: getattr(arguments, field) for field in LabelerOptions.__dataclass_fields__})
        config, run = open_run(arguments)
        comparisons = load_comparisons(run, config.seed)[: options.count]
        labeler = build_labeler(options, config, run, comparisons)
        facts = label_missing(run, labeler, comparisons, show_progress=options.labeler != "human")
        shown = ", ".join(f"{name} {value}" for name, value in facts.items())
        print(f"{labeler.name}: {shown} → {label_path(run, labeler.name)}")
        return 0

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())
