from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pipelines.config import ModelConfig
from pipelines.errors import ModelError
from pipelines.models import load_model, model_identity, render_prompt
from tests.tiny import build_tiny_model


def test_the_same_seed_builds_the_same_tiny_model(tiny_folder: Path, tmp_path: Path):
    again = build_tiny_model(tmp_path / "again")
    identities = [model_identity(ModelConfig(name=str(folder)))["sha256"] for folder in (tiny_folder, again)]
    assert identities[0] == identities[1]
    other = build_tiny_model(tmp_path / "other", seed=1)
    assert model_identity(ModelConfig(name=str(other)))["sha256"] != identities[0]


def test_any_text_goes_through_the_tiny_tokenizer_and_back(tiny):
    _, tokenizer = tiny
    text = '[1, 2]\n\t"é☃𝄞" \x00'
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_weights_in_a_pickle_are_not_loaded(tiny_folder: Path, tmp_path: Path):
    copy = tmp_path / "pickled"
    shutil.copytree(tiny_folder, copy)
    model, _ = load_model(str(tiny_folder))
    torch.save(model.state_dict(), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"cannot be loaded .*safetensors"):
        load_model(str(copy))


def test_a_repository_with_code_of_its_own_is_refused(tiny_folder: Path, tmp_path: Path):
    copy = tmp_path / "code"
    shutil.copytree(tiny_folder, copy)
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(
        config.replace('"model_type": "llama"', '"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}')
    )
    (copy / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(copy))


def test_a_hub_id_that_is_not_cached_says_how_to_get_it():
    with pytest.raises(ModelError, match=r"'nobody/nothing' cannot be loaded .*hf download nobody/nothing"):
        load_model("nobody/nothing")


def test_an_unknown_device_is_named():
    with pytest.raises(ModelError, match="model.device must be auto or a torch device, got 'gpu0'"):
        load_model(ModelConfig(name="bundled", device="gpu0"))


def test_a_prompt_ends_where_the_answer_begins(tiny):
    _, tokenizer = tiny
    ids = render_prompt(tokenizer, [{"role": "user", "content": "hi"}])
    assert tokenizer.decode(ids) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_model_without_chat_template_is_refused(tiny_folder: Path, tmp_path: Path):
    copy = tmp_path / "plain"
    shutil.copytree(tiny_folder, copy)
    (copy / "chat_template.jinja").unlink()
    _, tokenizer = load_model(str(copy))
    with pytest.raises(ModelError, match="has no chat template"):
        render_prompt(tokenizer, [{"role": "user", "content": "hi"}])
