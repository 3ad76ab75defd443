from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.models import bundled as room
from pipelines.models.bundled import bundled_folder, is_intact


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
    names = {file.name for file in bundled_folder().iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]


def test_a_flipped_byte_makes_a_cached_folder_not_intact(bundled, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(bundled_folder(), copy)
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
    bundled_folder()


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
    ours, theirs = load_file(folder / "model.safetensors"), load_file(bundled_folder() / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
