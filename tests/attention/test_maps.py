"""Maps as data: from files, and from tensors that something else computed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.attention import AttentionMaps, probe
from pipelines.attention.scores import score_maps
from pipelines.errors import DataError
from tests.attention.architectures import IDS, build, probe_ids
from tests.attention.planted import HANDOUT, maps_of, random_rows, uniform


def test_maps_come_back_from_their_files_without_a_model(tiny, tmp_path: Path):
    maps = probe(*tiny, HANDOUT)
    maps.save(tmp_path / "before")
    back = AttentionMaps.load(tmp_path / "before")
    for field in dataclasses.fields(AttentionMaps):
        assert np.array_equal(getattr(back, field.name), getattr(maps, field.name)), field.name


def test_names_with_dots_do_not_collide(tmp_path: Path):
    for version in ("qwen2.5", "qwen2.7"):
        maps_of([uniform(2)], (version, "x")).save(tmp_path / version)
    assert AttentionMaps.load(tmp_path / "qwen2.5").tokens[0] == "qwen2.5"


def test_a_damaged_file_is_named(tiny, tmp_path: Path):
    probe(*tiny, HANDOUT).save(tmp_path / "before")
    (tmp_path / "before.safetensors").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"before.\*: cannot be read"):
        AttentionMaps.load(tmp_path / "before")


def test_the_models_own_output_gives_the_scores_that_a_probe_of_it_gives():
    model = build("llama")
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        own = model(torch.tensor([IDS]), output_attentions=True).attentions
    probed = probe_ids(model)
    maps = AttentionMaps.from_arrays(torch.cat(own).numpy(), probed.tokens, ids=IDS)
    for score, expected in zip(score_maps(maps), score_maps(probed), strict=True):
        if not score.definition.name.startswith("norm_"):  # those need the values as well
            np.testing.assert_array_equal(score.values, expected.values, err_msg=score.definition.name)


def test_equal_texts_are_the_same_token():
    assert AttentionMaps.from_arrays(uniform(4)[None, None], ["a", "b", "a", "b"]).ids == (0, 1, 0, 1)


def test_rows_that_were_rounded_to_bfloat16_are_attention_where_that_is_said():
    rounded = torch.from_numpy(random_rows((1, 1, 64, 64))).bfloat16().float().numpy()
    tokens = [f"t{place}" for place in range(64)]
    with pytest.raises(DataError, match="row_sum_error"):
        AttentionMaps.from_arrays(rounded, tokens)
    assert AttentionMaps.from_arrays(rounded, tokens, dtype="bfloat16").checks["future_max"] == 0


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (uniform(3)[None, None], r"weights must be \[layers, heads, 2, 2\] for 2 tokens, got \(1, 1, 3, 3\)"),
        (np.full((1, 1, 2, 2), 0.5, np.float32), "hidden_max, future_max"),
    ],
)
def test_what_is_no_causal_attention_over_the_tokens_is_refused(weights: np.ndarray, told: str):
    with pytest.raises(DataError, match=told):
        AttentionMaps.from_arrays(weights, ("1", "a"))
