"""Numbers for single heads, and the rule by which the page chooses the head it shows.

Every score takes one pattern `[query, key]` or many `[..., query, key]`, never changes it, and is NaN where the
sequence is too short to define it. NumPy only.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from pipelines.attention.maps import AttentionMaps


def first_token(patterns: Float[np.ndarray, "... query key"]) -> Float[np.ndarray, ...]:
    """Mean weight on the first token over the rows after it: the sink (Xiao et al. 2023, arXiv 2309.17453)."""
    return _mean(patterns[..., 1:, 0])


def previous_token(patterns: Float[np.ndarray, "... query key"]) -> Float[np.ndarray, ...]:
    """Mean weight on the token before, from the third row on: in the second row "previous" and "first" are one."""
    rows = np.arange(2, patterns.shape[-1])
    return _mean(patterns[..., rows, rows - 1])


def same_class(patterns: Float[np.ndarray, "... query key"], classes: list[str]) -> Float[np.ndarray, ...]:
    """Mean weight on earlier tokens of the row's own class, the first token left out.

    The first token draws attention whatever it is, so only rows count that have an earlier token of their class other
    than it: in `1 a 2 b 3` the rows of `b` (which can look at `a`) and of the last `3` (at `2`). After the property
    alignment of Vig & Belinkov (2019, arXiv 1906.04284, section 4.2).
    """
    same = np.array([[a == b for b in classes] for a in classes])
    eligible = np.tril(same, k=-1)
    eligible[:, 0] = False
    rows = eligible.any(axis=1)
    return _mean((patterns * eligible).sum(-1)[..., rows])


def symbol_class(symbol: str) -> str:
    """`digit`, `letter` or `other`, by the symbol's characters, surrounding space aside."""
    text = symbol.strip()
    return "digit" if text.isdigit() else "letter" if text.isalpha() else "other"


def telling_head(maps: AttentionMaps) -> tuple[int, int]:
    """(layer, head) shown by default: the most weight on earlier symbols of the same class, the first left out.

    It is the one structure in the handout's sequence that neither position nor the sink explains. Where no row can have
    it (all symbols of different classes), the strongest previous-token head. Ties go to the first.
    """
    patterns = maps.symbols_only()
    scores = same_class(patterns, [symbol_class(token) for token in maps.tokens[maps.prefix_tokens :]])
    if np.isnan(scores).any():
        scores = previous_token(patterns)
    layer, head = np.unravel_index(int(np.nanargmax(np.nan_to_num(scores))), scores.shape)
    return int(layer), int(head)


def _mean(values: Float[np.ndarray, "... row"]) -> Float[np.ndarray, ...]:
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan)
    result: np.ndarray = values.mean(axis=-1)
    return result
