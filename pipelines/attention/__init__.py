"""The attention a model really computes: symbols to tokens, one forward pass, maps, checks, scores, figures."""

from pipelines.attention.capture import probe
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.symbols import symbol_ids

__all__ = ["AttentionMaps", "probe", "symbol_ids"]
