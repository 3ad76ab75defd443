"""The verb `export` on a run of the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from peft import PeftModel

from pipelines.models import load_model
from tests.stages.conftest import do, load_run


def test_the_merged_model_computes_what_the_adapter_does(arguments: list[str], trained: Path, tiny_folder: Path):
    do([*arguments, "--merged", "--output", str(trained / "out")], "export")
    merged, tokenizer = load_model(str(trained / "out"))
    base, _ = load_model(str(tiny_folder))
    ids = tokenizer("[1, 2", return_tensors="pt").input_ids
    with torch.inference_mode():
        expected = PeftModel.from_pretrained(base, load_run(trained).last.adapter)(ids).logits
        torch.testing.assert_close(merged(ids).logits, expected, atol=1e-4, rtol=1e-4)


def test_the_adapter_goes_out_with_a_card_and_no_pickle(arguments: list[str], trained: Path):
    (trained / "metrics.json").write_text(json.dumps({"seed": 0}))
    do(arguments, "export")
    names = {path.name for path in (trained / "export").iterdir()}
    assert {"README.md", "adapter_model.safetensors", "adapter_config.json", "metrics.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert "Not measured" in (trained / "export" / "README.md").read_text()


def test_export_before_training_names_the_verb_to_run(complaint, arguments: list[str], planted: Path):
    assert "run `attend-and-prefer train" in complaint("export", arguments)
