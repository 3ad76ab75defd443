"""What holds beyond one picture: scores over seeded sequences, what training changed, and what a head is for.

Reads a policy and its maps; returns JSON-ready findings, writes no file. The ensembles show whether a head does what a
short text suggests, beside what uniform attention gets; the change names the most changed heads beside its noise floor;
ablation says what a head's output does to the prediction, beside the other heads of its layer.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Float
from transformers import PreTrainedTokenizerBase

from pipelines.attention.ablation import ablate_heads
from pipelines.attention.capture import CausalLM, base_model
from pipelines.attention.change import attention_change
from pipelines.attention.ensembles import ScoresOf, alternating, measure, pick_heads, repeated, shuffled_classes
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.probe import Selection, attention_layers, probe, probe_scores
from pipelines.attention.scores import HeadChoice
from pipelines.attention.symbols import TokenSequence
from pipelines.errors import DataError

_MOST_CHANGED = 10
_PICKS = {
    # On shuffled classes, so that class and distance come apart.
    "same_class_sink_free": "shuffled_classes",
    "two_back": "alternating",
    "previous_token": "repeated",
    "duplicate_token": "repeated",
    "induction": "repeated",
}


def collect_evidence(
    model: CausalLM, tokenizer: PreTrainedTokenizerBase, maps: AttentionMaps, shown: HeadChoice, seeds: int
) -> dict[str, Any]:
    """Ensembles over `seeds` sequences of each kind, the heads they pick, and the shown head ablated on its own text.

    Raises DataError for fewer than four seeds, or a tokenizer without single-token digits and letters.
    """
    layers = sorted(attention_layers(model))
    scores_of, uniform_of = _scores_of(model, tokenizer)
    kinds = _sequences(tokenizer, seeds)
    names = {kind: sorted(name for name, used in _PICKS.items() if used == kind) for kind in kinds}
    ensembles = {kind: measure(scores_of, sequences, names[kind]) for kind, sequences in kinds.items()}
    uniform = {name: np.mean([uniform_of(ids)[name] for ids in kinds[kind]], axis=0) for name, kind in _PICKS.items()}
    picked = {
        name: [
            {
                **dataclasses.asdict(head),
                "layer": layers[head.layer],
                "uniform": float(uniform[name][head.layer, 0]),
            }
            for head in pick_heads(scores_of, kinds[kind], name)
        ]
        for name, kind in _PICKS.items()
    }
    induction = picked["induction"][0]
    copied = kinds["repeated"][1]  # a seed that had no part in the choice
    return {
        "seeds": seeds,
        "layers": layers,
        "ensembles": {
            kind: {
                name: {
                    "mean": _plain(one.mean),
                    "margin": _plain(one.margin),
                    "uniform": _plain(np.broadcast_to(uniform[name], one.mean.shape)),
                }
                for name, one in found.items()
            }
            for kind, found in ensembles.items()
        },
        "picked": picked,
        "ablations": {
            "shown_head": _ablate(model, maps.ids, (shown.layer, shown.head), first=maps.prefix_tokens),
            "induction_head": _ablate(model, copied, (induction["layer"], induction["head"]), first=len(copied) // 2),
        },
    }


def find_change(
    model: CausalLM, tokenizer: PreTrainedTokenizerBase, before: AttentionMaps, after: AttentionMaps
) -> dict[str, Any]:
    """The most changed heads, with the score of each that moved most, and the floor: the same model probed twice."""
    change = attention_change(before, after)
    again = probe(model, tokenizer, TokenSequence.of_ids(after.ids), Selection(layers=after.layers, heads=after.heads))
    changed: list[dict[str, Any]] = []
    for layer, head in change.ranked()[:_MOST_CHANGED]:
        place = change.layers.index(layer), change.heads.index(head)
        moved = {name: float(values[place]) for name, values in change.scores.items() if name != "distance"}
        most = max(moved, key=lambda name: np.nan_to_num(abs(moved[name])))
        changed.append(
            {
                "layer": layer,
                "head": head,
                "jsd_bits": _finite(change.jsd_bits[place]),
                "total_variation": _finite(change.total_variation[place]),
                "most_moved_score": most,
                "moved_by": _finite(moved[most]),
            }
        )
    return {
        "most_changed": changed,
        "median_jsd_bits": _finite(np.median(change.jsd_bits)),
        "same_model_twice_jsd_bits": _finite(attention_change(after, again).jsd_bits.max()),
        "most_changed_ablated": _ablate(
            model, after.ids, (changed[0]["layer"], changed[0]["head"]), first=after.prefix_tokens
        ),
    }


def compare_scale(before: AttentionMaps, after: AttentionMaps, other: AttentionMaps) -> dict[str, float | None]:
    """The change beside that of another training run: how far two runs are apart that should agree."""
    pairs = ((before, after), (before, other), (after, other))
    ours, others, between = (attention_change(one, two).jsd_bits for one, two in pairs)
    return {
        "median_jsd_bits": _finite(np.median(ours)),
        "other_run_median_jsd_bits": _finite(np.median(others)),
        "between_runs_median_jsd_bits": _finite(np.median(between)),
        "rank_correlation": _finite(_rank_correlation(ours, others)),
    }


def _ablate(model: CausalLM, ids: tuple[int, ...], chosen: tuple[int, int], first: int) -> dict[str, Any]:
    """Change in nats a token, from place `first` on, without the head; and without each other head of its layer."""
    layer, head = chosen
    heads = range(int(base_model(model).config.get_text_config().num_attention_heads))
    changes = ablate_heads(model, ids, layer, heads)[:, max(first, 1) - 1 :]
    if not changes[head].size:  # a single token predicts nothing that could be checked
        return {"layer": layer, "head": head, "nats_per_token": [], "mean_nats": None, "other_heads_mean_nats": []}
    return {
        "layer": layer,
        "head": head,
        "nats_per_token": [float(change) for change in changes[head]],
        "mean_nats": float(changes[head].mean()),
        "other_heads_mean_nats": [float(change.mean()) for one, change in enumerate(changes) if one != head],
    }


def _scores_of(model: CausalLM, tokenizer: PreTrainedTokenizerBase) -> tuple[ScoresOf, ScoresOf]:
    """Functions from token ids to the scores of every head, and to those of uniform attention in each layer."""

    @functools.cache  # an ensemble and a choice of heads look at the same sequences
    def both_of(ids: tuple[int, ...]) -> dict[str, Float[np.ndarray, "layer head"]]:
        return probe_scores(model, tokenizer, TokenSequence.of_ids(ids), uniform=True)[0]

    return (
        lambda ids: {name: values[:, :-1] for name, values in both_of(ids).items()},
        lambda ids: {name: values[:, -1:] for name, values in both_of(ids).items()},
    )


def _sequences(tokenizer: PreTrainedTokenizerBase, seeds: int) -> dict[str, list[tuple[int, ...]]]:
    digits, letters = (_single_tokens(tokenizer, symbols) for symbols in ("0123456789", "abcdefghijklmnopqrstuvwxyz"))
    special = set(tokenizer.all_special_ids)
    ordinary = [token for token in range(tokenizer.vocab_size) if token not in special]
    return {
        "alternating": [alternating(digits, letters, seed) for seed in range(seeds)],
        "shuffled_classes": [shuffled_classes(digits, letters, seed) for seed in range(seeds)],
        "repeated": [repeated(ordinary, seed) for seed in range(seeds)],
    }


def _single_tokens(tokenizer: PreTrainedTokenizerBase, symbols: str) -> list[int]:
    encoded = [tokenizer.encode(symbol, add_special_tokens=False) for symbol in symbols]
    single = [ids[0] for ids in encoded if len(ids) == 1]
    if len(single) < 2:
        raise DataError(
            f"seeded sequences need two of {symbols!r} as single tokens, got {len(single)}; leave --seeds out"
        )
    return single


def _finite(value: float | np.floating[Any]) -> float | None:
    """JSON has no NaN; it stands for what a single token does not define."""
    return float(value) if np.isfinite(value) else None


def _plain(values: Float[np.ndarray, "layer head"]) -> list[list[float | None]]:
    """JSON has no NaN."""
    return [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in values]


def _rank_correlation(one: Float[np.ndarray, "layer head"], other: Float[np.ndarray, "layer head"]) -> float:
    """Spearman's, of which heads changed most."""
    ranks = np.stack([np.argsort(np.argsort(values, axis=None)) for values in (one, other)])
    matrix = np.asarray(np.corrcoef(ranks))
    return float(matrix[0, 1])
