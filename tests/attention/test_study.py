"""From a text to files: how large the page gets, what a long text leaves out, what the figures cost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipelines.attention.figures import draw_head
from pipelines.attention.scores import most_selective_head
from pipelines.attention.study import RECORD, ProbeInput, ProbeResult, run_probe, write_explorer, write_results
from pipelines.errors import ConfigError
from tests.attention.planted import SCORES, maps_of, planted_findings, random_rows

LONG = "1 a 2 b 3 c 4 d " * 16


def as_after(one: ProbeResult) -> ProbeResult:
    """The same passes as those of a trained policy, as different as weights can be."""
    passes = {
        name.replace("before", "after"): dataclasses.replace(maps, weights=random_rows(maps.weights.shape))
        for name, maps in one.passes.items()
        if maps.masked
    }
    return ProbeResult(phase="after", passes=passes)


def test_a_page_of_the_handout_with_an_adapter_and_all_evidence_is_small(bundled, tmp_path: Path):
    before = run_probe(*bundled, ProbeInput(text="1 a 2 b 3"))
    page = write_results(tmp_path, [before, as_after(before)], planted_findings(30, 9, SCORES))
    assert page.stat().st_size < 400_000


def test_a_page_of_128_symbols_with_default_options_is_under_ten_megabytes(bundled, tmp_path: Path):
    one = run_probe(*bundled, ProbeInput(text=LONG))
    assert list(one.passes) == ["before"]  # no second split, no pass without a mask
    assert write_results(tmp_path, [one], {}).stat().st_size < 10_000_000


def test_more_than_a_page_holds_is_refused_before_the_model_runs(bundled, monkeypatch: pytest.MonkeyPatch):
    model, tokenizer = bundled
    monkeypatch.setattr(model, "forward", None)  # calling it would be a TypeError
    with pytest.raises(ConfigError, match="30 layers × 9 heads × 840 tokens are too much.*--layers and --heads"):
        run_probe(model, tokenizer, ProbeInput(text="1 a 2 b 3 c 4 " * 120))
    with pytest.raises(TypeError):
        run_probe(model, tokenizer, ProbeInput(text="1 a 2 b 3 c 4 " * 120, layers=(6,), heads=(1,)))


def test_a_figure_of_700_tokens_is_small_because_it_writes_no_numbers():
    maps = maps_of(random_rows((1, 1, 700, 700)), [f"t{place}" for place in range(700)])
    drawn = draw_head(maps, 0, 0)
    assert len(drawn["png"]) < 1_500_000
    assert len(drawn["svg"]) < 3_000_000


def test_the_hidden_cells_of_a_window_are_hatched_on_both_sides():
    from pipelines.attention.figures import _hidden_area

    visible = np.tri(5, dtype=bool) & ~np.tri(5, k=-2, dtype=bool)
    inside = [[bool(_hidden_area(visible).contains_point((key, query))) for key in range(5)] for query in range(5)]
    assert np.array_equal(~np.array(inside), visible)


def test_the_head_that_is_shown_is_chosen_once_and_kept_with_the_maps(tiny, tmp_path: Path):
    result = run_probe(*tiny, ProbeInput(text="1 a 2 b 3"))
    kept = {name: maps.info.get("shown_head") for name, maps in result.passes.items()}
    assert kept["before"] == dataclasses.asdict(most_selective_head(result.maps))
    other_head = (kept["before"]["head"] + 1) % 4
    other = dataclasses.replace(
        result.maps, info={**result.maps.info, "shown_head": {**kept["before"], "head": other_head}}
    )
    page = write_results(tmp_path, [ProbeResult(phase="before", passes={"before": other})], {})
    assert f'"shown":[{kept["before"]["layer"]},{other_head}]' in page.read_text()


def test_the_page_is_made_again_from_the_files_alone(tiny, tmp_path: Path):
    page = write_results(tmp_path, [run_probe(*tiny, ProbeInput(text="1 a 2"))], {})
    before = page.read_bytes()
    page.unlink()
    assert write_explorer(tmp_path).read_bytes() == before


def test_a_runs_folder_without_a_record_keeps_the_maps_it_has(tiny, tmp_path: Path):
    before = run_probe(*tiny, ProbeInput(text="1 a 2"))
    write_results(tmp_path, [before], {}, keep=True)
    (tmp_path / RECORD).unlink()
    page = write_results(tmp_path, [as_after(before)], {}, keep=True)
    assert '"phases":{"before":' in page.read_text()
    assert '"after":{"triangle"' in page.read_text()
