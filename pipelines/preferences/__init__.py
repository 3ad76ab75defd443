"""From verdicts to preference pairs, and to a Hugging Face dataset others can use."""

from pipelines.preferences.pairing import build_pairs

__all__ = ["build_pairs"]
