"""A study: one text through a model, before and after training, written as a folder with a page over it.

Reads a model and a text, or a run's config and its handout; writes `before.*` and `after.*` (each symbol one token),
`before_text.*` and `after_text.*` (the tokenizer's own split), `before*_unmasked.*` (without a mask), findings,
figures, `explorer.html`, and `study.json`, which names them all. Nothing is written before the last model has run, and
only files that an earlier record names are ever replaced or removed. The page can be made again from the files alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from pipelines.attention.capture import CausalLM
from pipelines.attention.explorer import View, build_view, render_explorer, require_room
from pipelines.attention.figures import draw_head
from pipelines.attention.findings import collect_evidence, compare_scale, find_change
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.probe import Selection, probe, selected
from pipelines.attention.scores import HeadChoice, most_selective_head, shown_head
from pipelines.attention.symbols import Prefix, Split, TokenSequence, encode, own_split
from pipelines.config import Config, ModelConfig
from pipelines.errors import ConfigError, DataError
from pipelines.models import adapter_identity, attach_adapter, load_model, model_identity
from pipelines.run.files import write_bytes, write_json, write_text
from pipelines.run.folder import Run
from pipelines.tasks import handout_path, load_handout
from pipelines.text import escape

Phase = Literal["before", "after"]
EXTRAS_UP_TO = 32
"""Longest sequence in tokens that is also shown in a second split and without a mask: beyond, they are megabytes."""
TABLE_UP_TO = 16
"""Symbols whose table still fits the width of a terminal."""
FEWEST_SEEDS = 4
"""Heads are picked on one half of the seeds and reported on the other, and an interval needs two."""
RECORD = "study.json"
PAGE = "explorer.html"
_HANDOUT_SEEDS = 8
_SUFFIXES: dict[Split, str] = {"symbols": "", "text": "_text"}
_TITLES: dict[Split, str] = {"symbols": "each symbol one token", "text": "the tokenizer’s own split"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProbeInput:
    """The text that is probed, and what of the model's attention is kept."""

    text: str
    """Prose, or symbols separated by spaces."""
    splits: tuple[Split, ...] | None = None
    """The first one is what figures and tables show; another one is left out beyond `EXTRAS_UP_TO` tokens. None for
    both where each symbol is one token, and for the tokenizer's own elsewhere."""
    prefix: Prefix = "none"
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None

    def sequences(self, tokenizer: PreTrainedTokenizerBase) -> dict[Split, TokenSequence]:
        """The text's tokens by split, those left out that are too long to be an extra. Raises like `encode`."""
        both: tuple[Split, ...] = ("symbols", "text")
        first, *others = self.splits or (both if own_split(tokenizer, self.text) == "symbols" else ("text",))
        sequences = {first: encode(tokenizer, self.text, split=first, prefix=self.prefix)}
        if len(sequences[first].ids) <= EXTRAS_UP_TO:
            for split in others:
                sequences[split] = encode(tokenizer, self.text, split=split, prefix=self.prefix)
        return sequences


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProbeResult:
    """One policy's passes over a text."""

    phase: Phase
    passes: dict[str, AttentionMaps]
    """By the name that their files get; the first is the one that figures and tables show."""

    @property
    def maps(self) -> AttentionMaps:
        """The pass that figures and tables show."""
        return next(iter(self.passes.values()))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProbeRequest:
    """What is asked of the command line; ConfigError for what cannot be answered."""

    input: ProbeInput
    model: str = "bundled"
    adapter: Path | None = None
    other_adapter: Path | None = None
    """Another run's, e.g. of another seed: the scale of the change."""
    seeds: int | None = None
    """Sequences of each kind for the ensembles; None for no ensembles."""
    out: Path

    def __post_init__(self) -> None:
        if not self.input.text.strip():
            raise ConfigError("--text must hold at least one symbol, got none; e.g. --text '1 a 2 b 3'")
        if self.seeds is not None and self.seeds < FEWEST_SEEDS:
            raise ConfigError(f"--seeds must be {FEWEST_SEEDS} or more, got {self.seeds}; leave it out for none")
        if self.other_adapter is not None and self.adapter is None:
            raise ConfigError("--other-adapter is the scale of another one's change; name that one with --adapter")
        for option, folder in (("--adapter", self.adapter), ("--other-adapter", self.other_adapter)):
            if folder is not None and not folder.is_dir():
                raise ConfigError(f"{option} must be a folder of trained weights, got {str(folder)!r}; check the path")


def probe_text(request: ProbeRequest) -> str:
    """Probe any model and text without a run, and write the study; returns a summary for the terminal.

    An error leaves the folder as it was.
    """
    require_own(request.out, ["before"] if request.adapter is None else ["before", "after"])
    config = ModelConfig(name=request.model, dtype="float32")
    info = {"model": model_identity(config)}
    policy = load_model(config)
    before = run_probe(*policy, request.input, info=info)
    results = [before]
    findings: dict[Phase, dict[str, Any]] = {}
    if request.seeds is not None:
        findings["before"] = collect_evidence(*policy, before.maps, shown_head(before.maps), request.seeds)
    if request.adapter is not None:
        policy = attach_adapter(config, request.adapter)
        info = {**info, "adapter": adapter_identity(request.adapter)}
        after = run_probe(*policy, request.input, phase="after", info=info)
        results.append(after)
        findings["after"] = {"change": find_change(*policy, before.maps, after.maps)}
        if request.other_adapter is not None:
            other = run_probe(*attach_adapter(config, request.other_adapter), request.input, phase="after")
            findings["after"]["scale"] = compare_scale(before.maps, after.maps, other.maps)
    page = write_results(request.out, results, findings)
    return _summary(before, findings, page)


def probe_handout(config: Config, run: Run, phase: Phase) -> dict[str, Any]:
    """Write a run's `attention/` for the base model or the trained one; returns what the checks measured."""
    handout = load_handout(handout_path(config, run))
    # In half precision rows sum to 1 within 1e-3 only; the maps are exact, so the weights are read in float32.
    precise = dataclasses.replace(config.model, dtype="float32")
    info: dict[str, Any] = {"model": model_identity(config.model)}
    run.record(model=info["model"])
    if phase == "after":
        run.require(run.attention / "before.json", "probe")
        folder = run.require(run.last.adapter, "train")
        model, tokenizer = attach_adapter(precise, folder)
        info["adapter"] = adapter_identity(folder)
    else:
        model, tokenizer = load_model(precise)
    # Symbols in any case: the page shows the handout's own, never the pieces that a tokenizer cuts them into.
    text, prefix = " ".join(handout.sequence), config.attention.prefix
    handout_input = ProbeInput(text=text, splits=("symbols", "text"), prefix=prefix)
    result = run_probe(model, tokenizer, handout_input, phase=phase, info=info)
    maps = result.maps
    before = AttentionMaps.load(run.attention / "before") if phase == "after" else maps
    shown = shown_head(before)
    findings = collect_evidence(model, tokenizer, maps, shown, _HANDOUT_SEEDS)
    if phase == "after":
        findings["change"] = find_change(model, tokenizer, before, maps)
    write_results(run.attention, [result], {phase: findings}, keep=True)
    name = f"L{shown.layer}H{shown.head}"
    return {"layers": len(maps.layers), "heads": len(maps.heads), "shown": name, **maps.checks}


def run_probe(
    model: CausalLM,
    tokenizer: PreTrainedTokenizerBase,
    text: ProbeInput,
    *,
    phase: Phase = "before",
    info: Mapping[str, Any] | None = None,
) -> ProbeResult:
    """Probe one policy; the base model is also run without a mask, and its head to be shown is chosen.

    `info` goes into every pass. Raises like `probe`, and ConfigError when the maps are too many for a page, before any
    of them is computed.
    """
    sequences = text.sequences(tokenizer)
    layers, heads = selected(model, Selection(layers=text.layers, heads=text.heads))
    for sequence in sequences.values():
        require_room(layers=len(layers), heads=len(heads), tokens=len(sequence.ids))
    running = [escape(tokenizer.decode([token])) for token in tokenizer.encode(text.text, add_special_tokens=False)]
    facts = {**(info or {}), "text": text.text, "text_tokens": running, "phase": phase}
    passes = {}
    for place, (split, sequence) in enumerate(sequences.items()):
        unmasked_too = phase == "before" and place == 0 and len(sequence.ids) <= EXTRAS_UP_TO
        for masked in (True, False) if unmasked_too else (True,):
            selection = Selection(layers=text.layers, heads=text.heads, masked=masked)
            maps = probe(model, tokenizer, sequence, selection)
            name = f"{phase}{_SUFFIXES[split]}{'' if masked else '_unmasked'}"
            if masked and phase == "before":
                facts["shown_head"] = dataclasses.asdict(most_selective_head(maps))
            passes[name] = dataclasses.replace(maps, info={**maps.info, **facts})
    return ProbeResult(phase=phase, passes=passes)


def require_own(folder: Path, phases: Sequence[Phase]) -> None:
    """DataError when the folder cannot be one, or holds files of the names to be written that no study wrote."""
    there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    if not there.is_dir():
        raise DataError(f"{there} must be a folder, got a file; name another one with --out")
    if not os.access(there, os.W_OK):
        raise DataError(f"{there} cannot be written; fix its permissions, or name another folder with --out")
    recorded = _recorded(folder) or []
    foreign = [name for name in _present(folder, phases) if name not in recorded]
    if foreign:
        raise DataError(f"{folder / foreign[0]} was not written by this tool; name another folder with --out")


def write_results(
    folder: Path,
    results: Sequence[ProbeResult],
    findings: Mapping[Phase, Mapping[str, Any]],
    *,
    keep: bool = False,
) -> Path:
    """Write everything and remove what an earlier study left and this one does not have; returns the page's path.

    With `keep`, files of another phase stay and are on the page: a run comes in two parts. The figures show the base
    model's most selective head in both phases, so that before and after can be compared.
    """
    passes = {name: maps for result in results for name, maps in result.passes.items()}
    files = {f"{name}.{suffix}" for name in passes for suffix in ("json", "safetensors")}
    files |= {f"{result.phase}.{suffix}" for result in results for suffix in ("svg", "png")}
    files |= {PAGE, *(f"{phase}_findings.json" for phase in findings)}
    recorded = _recorded(folder)
    # A run's folder is its own: maps that it held before there were records are still its maps.
    earlier = set(_present(folder, ("before", "after")) if recorded is None and keep else recorded or [])
    # Recorded first: whatever happens next, every file that is written is known to be ours.
    try:
        write_json(folder / RECORD, {"files": sorted(files | earlier)})
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}); name another folder with --out") from error
    for name, maps in passes.items():
        maps.save(folder / name)
    for phase, found in findings.items():
        write_json(folder / f"{phase}_findings.json", dict(found))
    if not keep:
        for name in earlier - files:
            (folder / name).unlink(missing_ok=True)
        write_json(folder / RECORD, {"files": sorted(files)})
    views = _views(folder, passes)
    shown = shown_head(views[0].before)
    for result in results:
        # Of a model by itself there is no "before".
        of_two = keep or len(results) > 1
        maps = result.maps if of_two else dataclasses.replace(result.maps, info={**result.maps.info, "phase": ""})
        for suffix, content in draw_head(maps, shown.layer, shown.head).items():
            write_bytes(folder / f"{result.phase}.{suffix}", content)
    return _write_page(folder, views)


def write_explorer(folder: Path) -> Path:
    """`explorer.html` over the maps and findings in a folder. Raises DataError when no maps are a base model's."""
    return _write_page(folder, _views(folder, {}))


def table(maps: AttentionMaps, layer: int, head: int) -> str:
    """One head's weights between symbols as text; "0" is exactly 0 and hidden, "0.00" is visible and small.

    Of more than `TABLE_UP_TO` symbols the first ones; a last line says so.
    """
    labels = [escape(label) for label in maps.symbols()][:TABLE_UP_TO]
    weights, visible = maps.head(layer, head), maps.visible_symbols(layer)
    width = max(4, *(len(label) for label in labels))
    lines = [" " * width + "".join(f"  {label:>{width}}" for label in labels)]
    for row, label in enumerate(labels):
        pairs = zip(weights[row, : len(labels)], visible[row, : len(labels)], strict=True)
        cells = [f"{weight:.2f}" if shown else "0" for weight, shown in pairs]
        lines.append(f"{label:>{width}}" + "".join(f"  {cell:>{width}}" for cell in cells))
    if len(maps.groups) > TABLE_UP_TO:
        lines.append(f"the first {TABLE_UP_TO} of {len(maps.groups)} symbols; the page and the files hold them all")
    return "\n".join(lines)


def _summary(before: ProbeResult, findings: Mapping[Phase, Mapping[str, Any]], page: Path) -> str:
    maps, shown, running = before.maps, shown_head(before.maps), before.maps.info["text_tokens"]
    pieces = " · ".join(running[:12]) + (" …" if len(running) > 12 else "")
    count = f"{len(running)} {'token' if len(running) == 1 else 'tokens'}"
    own = maps.info["split"] == "text"
    lines = [
        f"layer {shown.layer}, head {shown.head} of {len(maps.layers)} × {len(maps.heads)}: {shown.rule}",
        "",
        table(maps, shown.layer, shown.head),
        "",
        "0: exactly 0, hidden by the mask, in every head.",
        f"{f'{count}, as the tokenizer splits the text' if own else f'As running text: {count}'} ({pieces}).",
    ]
    if len(maps.ids) > EXTRAS_UP_TO:
        other = "" if own else "; --tokens text shows the other split"
        lines.append(f"More than {EXTRAS_UP_TO} tokens: one split, with the mask{other}.")
    if "before" in findings:
        lines.append(_evidence_line(findings["before"], shown))
    if "after" in findings:
        lines.append(_change_line(findings["after"]))
    return "\n".join([*lines, f"→ {page}"])


def _evidence_line(found: Mapping[str, Any], shown: HeadChoice) -> str:
    score, place = found["ensembles"]["shuffled_classes"]["same_class_sink_free"], found["layers"].index(shown.layer)
    mean, margin, uniform = (score[part][place][shown.head] for part in ("mean", "margin", "uniform"))
    measured = "n/a" if mean is None else f"{mean:.2f} ± {margin:.2f} (uniform {uniform:.2f})"
    nats = found["ablations"]["shown_head"]["mean_nats"]
    ablated = "n/a" if nats is None else f"{nats:+.3f} nats a token"
    return (
        f"Evidence over {found['seeds']} seeded sequences: same class, sink-free {measured}; "
        f"log-probability of this text without the head {ablated} → before_findings.json"
    )


def _change_line(found: Mapping[str, Any]) -> str:
    def bits(value: float | None) -> str:
        return "n/a" if value is None else f"{value:.2g} bits"

    change, scale = found["change"], found.get("scale")
    measured = f"median {bits(change['median_jsd_bits'])}, the same model twice "
    measured += bits(change["same_model_twice_jsd_bits"])
    if scale:
        measured += f", between the two adapters {bits(scale['between_runs_median_jsd_bits'])}"
    return f"Change of attention (Jensen–Shannon): {measured} → after_findings.json"


def _views(folder: Path, passes: Mapping[str, AttentionMaps]) -> list[View]:
    """What the page shows, the split that figures show first; `passes` are those that need not be read again."""

    def maps_of(name: str) -> AttentionMaps | None:
        if name in passes:
            return passes[name]
        return AttentionMaps.load(folder / name) if _is_ours(folder, f"{name}.json") else None

    views = [
        build_view(
            before,
            title=_TITLES[split],
            after=maps_of(f"after{suffix}"),
            unmasked=maps_of(f"before{suffix}_unmasked"),
        )
        for split, suffix in _SUFFIXES.items()
        if (before := maps_of(f"before{suffix}")) is not None
    ]
    if not views:
        raise DataError(f"{folder} holds no maps of a base model; run `attend-and-prefer probe --phase before`")
    return views


def _write_page(folder: Path, views: Sequence[View]) -> Path:
    title = f"Attention on “{views[0].before.info['text']}”"
    findings = {phase: _load_findings(folder, phase) for phase in ("before", "after")}
    write_text(folder / PAGE, render_explorer(views, title=title, findings=findings))
    return folder / PAGE


def _load_findings(folder: Path, phase: str) -> dict[str, Any]:
    file = folder / f"{phase}_findings.json"
    if not _is_ours(folder, file.name):
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error}); run `attend-and-prefer probe` again") from error


def _present(folder: Path, phases: Sequence[Phase]) -> list[str]:
    """The files of a folder that have the names of a study's."""
    suffixes = ("", "_text", "_findings", "_unmasked", "_text_unmasked")
    stems = [f"{phase}{suffix}" for phase in phases for suffix in suffixes]
    names = [PAGE, *(f"{stem}.{suffix}" for stem in stems for suffix in ("safetensors", "json", "svg", "png"))]
    return [name for name in names if (folder / name).exists()]


def _is_ours(folder: Path, name: str) -> bool:
    recorded = _recorded(folder)
    return (folder / name).exists() and (recorded is None or name in recorded)


def _recorded(folder: Path) -> list[str] | None:
    """The files that earlier studies wrote, their bare names; None without a record."""
    file = folder / RECORD
    if not file.is_file():
        return None
    try:
        names = json.loads(file.read_text(encoding="utf-8"))["files"]
        # A name with a folder in it would reach elsewhere.
        return [name for name in names if isinstance(name, str) and Path(name).name == name]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: not a record of a study ({error}); delete it, or name another folder") from error
