"""One self-contained page from a run folder."""

from pipelines.report.page import render_report

__all__ = ["render_report"]
