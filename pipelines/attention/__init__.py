"""The attention a model really computes: symbols to tokens, one forward pass, maps, checks, scores, explorer."""

from pipelines.attention.maps import AttentionMaps
from pipelines.attention.probe import Selection, probe, probe_batch, probe_scores
from pipelines.attention.symbols import TokenSequence, encode, symbol_ids

__all__ = [
    "AttentionMaps",
    "Selection",
    "TokenSequence",
    "encode",
    "probe",
    "probe_batch",
    "probe_scores",
    "symbol_ids",
]
