"""Runs side by side: methods on the same samples and seeds, and which did best; or finished runs of one experiment.

    load_comparison(path)           an experiment, its seeds, and what each method changes in `training`
    compare(comparison, root)       a run folder for each method and seed, and `comparison.json`
    load_metrics(folders)           what finished runs measured
    summary_table(metrics)          mean and range of every rate, as Markdown

Trains and measures nothing itself: each run is an ordinary one, walked by the plan.
"""

from pipelines.comparison.experiment import Comparison, load_comparison
from pipelines.comparison.running import compare
from pipelines.comparison.summary import load_metrics, summary_table

__all__ = ["Comparison", "compare", "load_comparison", "load_metrics", "summary_table"]
