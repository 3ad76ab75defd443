"""Who says which of two completions is better: the validator, a judging model, a person. One interface for all three.

    Labeler.decide(comparisons) -> Decision per comparison, one after the other
    label_pairs in `labeling`   writes them to `labels/<name>.jsonl`, and only those that are missing

Importing this package loads no model library; `judge` and `server` do, when they are imported.
"""

from pipelines.preferences.labelers.comparisons import Comparison, choose_comparisons, load_comparisons
from pipelines.preferences.labelers.labels import CHOICES, Choice, Decision, Label, Labeler, read_labels, standing

__all__ = [
    "CHOICES",
    "Choice",
    "Comparison",
    "Decision",
    "Label",
    "Labeler",
    "choose_comparisons",
    "load_comparisons",
    "read_labels",
    "standing",
]
