"""Numbers for heads: what each score says, its value beside what uniform attention would get, and the head shown first.

Reads weights `[head, query, key]`; returns one number per head and score, NaN where the sequence does not define it:
too short, no repeated token, no two tokens of one class. Rows are those of the symbols; the prefix's are left out.
"First" is the first token of all, prefix included, because that is where attention sinks. The weights are read once, in
blocks, so that 2,048 tokens cost a fraction of the model's own pass. Rollout, of all heads together, and weights by
value length are derived here too, and are not raw attention. NumPy only.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Float, Int

from pipelines.attention.maps import AttentionMaps
from pipelines.errors import DataError

_SMALLEST_REMAINDER = 0.05
"""Mass beside the first token and itself that a row must have left to be renormalised."""
_BLOCK_ROWS = 128
_TINY = np.finfo(np.float32).tiny


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """What a score says."""

    name: str
    title: str
    formula: str
    """Of one head's weights A, row i attending to key j, from 0; the mean runs over the rows named."""
    source: str
    unit: str = "weight"


DEFINITIONS = {
    definition.name: definition
    for definition in (
        Definition(
            name="previous_token",
            title="previous token",
            formula="mean over i ≥ 2 of A[i, i−1]  (in row 1, previous is first)",
            source="Voita et al. 2019, arXiv 1905.09418",
        ),
        Definition(
            name="first_token",
            title="first token (sink)",
            formula="mean over i ≥ 1 of A[i, 0]",
            source="Xiao et al. 2023, arXiv 2309.17453",
        ),
        Definition(
            name="self",
            title="itself",
            formula="mean over i ≥ 1 of A[i, i]",
            source="Clark et al. 2019, arXiv 1906.04341",
        ),
        Definition(
            name="two_back",
            title="two back",
            formula="mean over i ≥ 3 of A[i, i−2]  (in row 2, two back is first)",
            source="the positional rival of same class in an alternating sequence",
        ),
        Definition(
            name="same_class",
            title="same class",
            formula="mean of Σ A[i, j] over earlier j of i's class, rows that have one",
            source="property alignment: Vig & Belinkov 2019, arXiv 1906.04284, section 4.2",
        ),
        Definition(
            name="same_class_past_first",
            title="same class, first left out",
            formula="mean of Σ A[i, j] over earlier j ≥ 1 of i's class, rows that have one",
            source="as same class; what a sink collects is no credit",
        ),
        Definition(
            name="same_class_sink_free",
            title="same class, sink-free",
            formula="Σ A[i, j] over earlier j ≥ 1 of i's class ÷ Σ A[i, j] over earlier j ≥ 1, "
            "rows with keys of both kinds and at least 0.05 left",
            source="as same class, renormalised without the first token and itself",
            unit="share",
        ),
        Definition(
            name="digit_to_digit",
            title="digit to digit",
            formula="same class, first left out, digits' rows",
            source="as same class",
        ),
        Definition(
            name="letter_to_letter",
            title="letter to letter",
            formula="same class, first left out, letters' rows",
            source="as same class",
        ),
        Definition(
            name="duplicate_token",
            title="duplicate token",
            formula="mean of Σ A[i, j] over earlier j with i's token, rows that have one",
            source="Wang et al. 2022, arXiv 2211.00593, section 3.2",
        ),
        Definition(
            name="induction",
            title="induction",
            formula="mean of Σ A[i, j+1] over earlier j with i's token, j + 1 < i, rows that have one",
            source="prefix matching: Olsson et al. 2022, arXiv 2209.11895",
        ),
        Definition(
            name="entropy",
            title="entropy, normalised",
            formula="mean over i ≥ 1 of −Σ A[i, j] log A[i, j] ÷ log(number of visible keys)",
            source="Vig & Belinkov 2019, arXiv 1906.04284, section 4.3",
            unit="share of the largest possible",
        ),
        Definition(
            name="distance",
            title="distance",
            formula="mean over i ≥ 1 of Σ A[i, j] (i − j)",
            source="Vig & Belinkov 2019, arXiv 1906.04284, section 4.3",
            unit="tokens",
        ),
        Definition(
            name="confidence",
            title="confidence",
            formula="mean over i ≥ 1 of max A[i, j]",
            source="Voita et al. 2019, arXiv 1905.09418",
        ),
        *(
            Definition(
                name=f"norm_{name}",
                title=f"{title}, by value length",
                formula=f"as {title}, of A[i, j]·‖value j through the head’s projection‖ ÷ the row’s sum",
                source="Kobayashi et al. 2020, arXiv 2004.10102; uniform attention is weighed the same way",
                unit="share",
            )
            for name, title in (
                ("first_token", "first token"),
                ("previous_token", "previous token"),
                ("same_class_past_first", "same class, first left out"),
            )
        ),
    )
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Score:
    """One score of every head, and what a head would get that attends to all it sees alike."""

    definition: Definition
    values: Float[np.ndarray, "layer head"]
    """NaN where undefined."""
    baseline: Float[np.ndarray, "layer head"]
    """Uniform attention under the layer's own mask; the same for all its heads, unless values weigh in."""

    @property
    def lift(self) -> Float[np.ndarray, "layer head"]:
        """Values above the baseline."""
        lift: np.ndarray = self.values - self.baseline
        return lift


def score_maps(maps: AttentionMaps) -> tuple[Score, ...]:
    """Every score of every head. Raises DataError for a pass without a mask: its rows see what no model does."""
    if not maps.masked:
        raise DataError("scores are of maps with a mask, got an unmasked pass; score the masked one")
    classes = [symbol_class(token) for token in maps.tokens]
    found = []
    for weights, visible in zip(maps.weights, maps.visible, strict=True):
        with_uniform = np.concatenate([weights, uniform_rows(visible)[None]])
        found.append(layer_scores(with_uniform, visible, maps.ids, classes, maps.prefix_tokens))
    scored = {
        name: (
            np.stack([layer[name][:-1] for layer in found]),
            np.repeat([layer[name][-1:] for layer in found], len(maps.heads), axis=1),
        )
        for name in found[0]
    } | _norm_scores(maps, classes)
    return tuple(
        Score(definition=definition, values=scored[name][0], baseline=scored[name][1])
        for name, definition in DEFINITIONS.items()
    )


def _norm_scores(
    maps: AttentionMaps, classes: Sequence[str]
) -> dict[str, tuple[Float[np.ndarray, "layer head"], Float[np.ndarray, "layer head"]]]:
    """(values, baselines) of the scores that weigh each key by its value; the baseline is weighed as well."""
    shape = maps.weights.shape[:2]
    names = [name for name in DEFINITIONS if name.startswith("norm_")]
    if maps.value_norms is None:
        return {name: (np.full(shape, np.nan), np.full(shape, np.nan)) for name in names}
    uniform = np.broadcast_to(uniform_rows(maps.visible)[:, None], maps.weights.shape)
    both = np.stack([norm_weighted(rows, maps.value_norms) for rows in (maps.weights, uniform)])
    # Of these scores none looks at the mask, so all layers go in one call.
    scored = layer_scores(both.reshape(-1, *both.shape[-2:]), maps.visible[0], maps.ids, classes, maps.prefix_tokens)
    split = {name: scored[name.removeprefix("norm_")].reshape(2, *shape) for name in names}
    return {name: (values[0], values[1]) for name, values in split.items()}


def layer_scores(
    weights: Float[np.ndarray, "head query key"],
    visible: Bool[np.ndarray, "query key"],
    ids: Sequence[int],
    classes: Sequence[str],
    prefix_tokens: int = 0,
) -> dict[str, Float[np.ndarray, " head"]]:
    """Score name → value of each head of one layer whose mask is causal. `classes` are those of all tokens."""
    tokens = len(ids)
    rows = np.arange(tokens)
    kinds = sorted(set(classes))
    of_kind = np.array([[one == kind for kind in kinds] for one in classes], dtype=np.float32)
    of_kind[:prefix_tokens] = 0
    statistics = _read(weights, np.hstack([of_kind, rows[:, None].astype(np.float32)]))
    own, diagonal, first = np.array([kinds.index(one) for one in classes]), weights[:, rows, rows], weights[:, :, 0]

    first_of_kind = of_kind[0, own]  # 1 where the first token is of the row's class
    same = statistics.products[:, rows, own] - diagonal  # all are later than the prefix
    same_past_first = same - np.where(rows == 0, 0, first * first_of_kind)
    earlier = np.cumsum(of_kind, axis=0)[rows, own] - 1
    earlier_past_first = earlier - np.where(rows == 0, 0, first_of_kind)
    other_past_first = np.maximum(rows - 1, 0) - earlier_past_first
    rest = statistics.totals - diagonal - np.where(rows == 0, 0, first)
    past_prefix = rows >= prefix_tokens
    has_same = past_prefix & (earlier_past_first > 0)
    free = has_same & (other_past_first > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        sink_free = np.where(free & (rest >= _SMALLEST_REMAINDER), same_past_first / rest, np.nan)
        shown = visible.sum(-1)
        entropy = np.where(shown > 1, statistics.entropies / np.log(shown), np.nan)
        distance = rows - statistics.products[:, :, -1] / statistics.totals
    after_first = past_prefix & (rows >= 1)
    digit, letter = (np.array([one == kind for one in classes]) for kind in ("digit", "letter"))
    back = np.maximum(rows - 1, 0), np.maximum(rows - 2, 0)
    return {
        "previous_token": _mean(weights[:, rows, back[0]], past_prefix & (rows >= 2)),
        "first_token": _mean(first, after_first),
        "self": _mean(diagonal, after_first),
        "two_back": _mean(weights[:, rows, back[1]], past_prefix & (rows >= 3)),
        "same_class": _mean(same, past_prefix & (earlier > 0)),
        "same_class_past_first": _mean(same_past_first, has_same),
        "same_class_sink_free": _mean(sink_free, free),
        "digit_to_digit": _mean(same_past_first, has_same & digit),
        "letter_to_letter": _mean(same_past_first, has_same & letter),
        **_repeats(weights, ids, prefix_tokens),
        "entropy": _mean(entropy, after_first),
        "distance": _mean(distance, after_first),
        "confidence": _mean(statistics.largest, after_first),
    }


def norm_weighted(
    weights: Float[np.ndarray, "*heads query key"], value_norms: Float[np.ndarray, "*heads key"]
) -> Float[np.ndarray, "*heads query key"]:
    """A[i, j]·‖value j‖ ÷ its row's sum (Kobayashi et al. 2020, arXiv 2004.10102, equation 3, normalised for reading).

    A row that carries nothing is NaN.
    """
    carried = weights.astype(np.float64) * value_norms[..., None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: np.ndarray = (carried / carried.sum(-1, keepdims=True)).astype(np.float32)
    return shares


def uniform_rows(visible: Bool[np.ndarray, "*layers query key"]) -> Float[np.ndarray, "*layers query key"]:
    """Rows that attend to all they see alike: what every score is measured against."""
    rows: np.ndarray = (visible / np.maximum(visible.sum(-1, keepdims=True), 1)).astype(np.float32)
    return rows


def symbol_class(symbol: str) -> str:
    """`digit`, `letter` or `other`, by the symbol's characters, surrounding space aside."""
    text = symbol.strip()
    return "digit" if text.isdigit() else "letter" if text.isalpha() else "other"


SAME_CLASS_RULE = "most weight on earlier symbols of the same class, the sequence's first token left out"
PREVIOUS_RULE = "most weight on the token before, because no symbol past the first has an earlier one of its class"
NO_RULE = "the first of all, because so short a sequence defines no score to choose by"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HeadChoice:
    """The head that is shown first, by the model's own numbers, and why."""

    layer: int
    head: int
    rule: str
    """One of `SAME_CLASS_RULE`, `PREVIOUS_RULE` and `NO_RULE`."""


def most_selective_head(maps: AttentionMaps) -> HeadChoice:
    """The head that puts the most weight on earlier symbols of the same class, the first token left out.

    It is the one structure in the handout's sequence that neither position nor the sink explains. Where no row can have
    it (all symbols of different classes), the strongest previous-token head; of two symbols or fewer, the first head.
    Ties go to the first.
    """
    patterns = maps.merged()
    start = min(maps.prefix_tokens, 1)  # a prefix is one more token before the symbols, as far as this rule goes
    size = len(maps.groups) + start
    padded = np.zeros((*patterns.shape[:2], size, size), dtype=np.float32)
    padded[:, :, start:, start:] = patterns
    classes = ["other"] * start + [symbol_class(symbol) for symbol in maps.symbols()]
    heads = padded.reshape(-1, size, size)
    scores = layer_scores(heads, np.tri(size, dtype=bool), range(size), classes, start)
    for rule, name in ((SAME_CLASS_RULE, "same_class_past_first"), (PREVIOUS_RULE, "previous_token")):
        if np.isfinite(scores[name]).any():
            layer, head = divmod(int(np.nanargmax(scores[name])), patterns.shape[1])
            return HeadChoice(layer=maps.layers[layer], head=maps.heads[head], rule=rule)
    return HeadChoice(layer=maps.layers[0], head=maps.heads[0], rule=NO_RULE)


def shown_head(maps: AttentionMaps) -> HeadChoice:
    """The head that was chosen when the maps were made; chosen now for maps that name none."""
    chosen = maps.info.get("shown_head")
    return HeadChoice(**chosen) if chosen else most_selective_head(maps)


def rollout(maps: AttentionMaps) -> Float[np.ndarray, "layer query key"]:
    """After each layer, how much of each token's state comes from each token, if attention and residual weigh the same.

    The product over the layers so far of ½ (mean over heads + identity); it favours early tokens by construction (Abnar
    & Zuidema 2020, arXiv 2005.00928). Raises DataError unless the maps hold every head of every layer up to the last.
    """
    if not is_whole(maps):
        raise DataError("rollout needs every layer and head, got a selection; probe without --layers and --heads")
    return _flow(maps.weights.astype(np.float64).mean(1))


def uniform_rollout(maps: AttentionMaps) -> Float[np.ndarray, "layer query key"]:
    """The rollout of heads that attend to all they see alike, under the same masks: what `rollout` is set beside."""
    return _flow(uniform_rows(maps.visible).astype(np.float64))


def is_whole(maps: AttentionMaps) -> bool:
    """Whether the maps hold every head of each layer from the first to their last."""
    return maps.layers == tuple(range(len(maps.layers))) and len(maps.heads) == maps.info.get("query_heads")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Statistics:
    """What one reading of the weights leaves of every row."""

    products: Float[np.ndarray, "head query feature"]
    totals: Float[np.ndarray, "head query"]
    entropies: Float[np.ndarray, "head query"]
    """In nats, of the row divided by its total."""
    largest: Float[np.ndarray, "head query"]


def _read(weights: Float[np.ndarray, "head query key"], features: Float[np.ndarray, "key feature"]) -> _Statistics:
    heads, tokens, _ = weights.shape
    columns = np.vstack([features.T, np.ones((1, tokens), np.float32)])
    products = np.empty((heads, tokens, len(columns)), np.float32)
    entropies, largest = (np.empty((heads, tokens), np.float32) for _ in range(2))

    def read(head: int) -> None:
        # A fresh one per block costs as much as the logarithms.
        buffer = np.empty(min(_BLOCK_ROWS, tokens) * tokens, np.float32)
        for start in range(0, tokens, _BLOCK_ROWS):
            last = min(start + _BLOCK_ROWS, tokens)  # no later key is visible to these rows
            block = weights[head, start:last, :last]
            # Not a matrix product: the threads of BLAS would fight with these.
            products[head, start:last] = np.vecdot(block[:, None], columns[None, :, :last])
            largest[head, start:last] = block.max(-1)
            logs = buffer[: block.size].reshape(block.shape)
            np.log(np.add(block, _TINY, out=logs), out=logs)
            entropies[head, start:last] = -np.vecdot(block, logs)

    if tokens <= _BLOCK_ROWS:
        for head in range(heads):
            read(head)
    else:
        with ThreadPoolExecutor() as pool:
            list(pool.map(read, range(heads)))
    totals = products[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        entropies = entropies / totals + np.log(totals)
    return _Statistics(products=products[..., :-1], totals=totals, entropies=entropies, largest=largest)


def _repeats(
    weights: Float[np.ndarray, "head query key"], ids: Sequence[int], prefix_tokens: int
) -> dict[str, Float[np.ndarray, " head"]]:
    """Weight on earlier copies of a row's token, and on the tokens that followed them."""
    pairs, followed = _copies(tuple(ids), prefix_tokens)
    scores = {}
    for name, cells in (("duplicate_token", pairs), ("induction", followed)):
        if not len(cells):
            scores[name] = np.full(len(weights), np.nan)
            continue
        rows, keys = cells.T
        scores[name] = weights[:, rows, keys].sum(-1, dtype=np.float64) / len(np.unique(rows))
    return scores


@functools.lru_cache(maxsize=4)  # the same for every layer
def _copies(
    ids: tuple[int, ...], prefix_tokens: int
) -> tuple[Int[np.ndarray, "copy row_and_key"], Int[np.ndarray, "followed row_and_key"]]:
    """(row, earlier place of its token) and (row, place after that), where they are two places."""
    places: dict[int, list[int]] = {}
    pairs: list[tuple[int, int]] = []
    for row in range(prefix_tokens, len(ids)):
        earlier = places.setdefault(ids[row], [])
        pairs += [(row, copy) for copy in earlier]
        earlier.append(row)
    followed = [(row, copy + 1) for row, copy in pairs if copy + 1 < row]
    return np.array(pairs, int).reshape(-1, 2), np.array(followed, int).reshape(-1, 2)


def _mean(values: Float[np.ndarray, "head query"], rows: Bool[np.ndarray, " query"]) -> Float[np.ndarray, " head"]:
    """Mean over the chosen rows that are defined."""
    chosen = values[:, rows].astype(np.float64)
    counts = np.isfinite(chosen).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, np.nansum(chosen, axis=-1) / counts, np.nan)


def _flow(layers: Float[np.ndarray, "layer query key"]) -> Float[np.ndarray, "layer query key"]:
    flow, flows = np.eye(layers.shape[-1]), []
    for mixed in layers:
        # A learned sink's share goes nowhere; what is left is what flows.
        flow = (mixed / mixed.sum(-1, keepdims=True) + np.eye(len(flow))) / 2 @ flow
        flows.append(flow)
    return np.stack(flows)
