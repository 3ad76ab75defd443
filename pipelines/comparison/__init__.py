"""Several answers to "how does the signal update the model", on the same samples and seeds, and which did best.

    load_comparison(path)           an experiment, its seeds, and what each method changes in `training`
    compare(comparison, root)       a run folder for each method and seed, and `comparison.json`

Trains and measures nothing itself: each run is an ordinary one, walked by the plan.
"""

from pipelines.comparison.experiment import Comparison, load_comparison
from pipelines.comparison.running import compare

__all__ = ["Comparison", "compare", "load_comparison"]
