"""A dataset's or a model's folder to the Hub, on request: never a card's hand-written part.

Reads a folder with a card and a repository's name; writes the repository with the same files and a card in
which only the generated part is new. Nothing here runs unless a user asks for it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, InferenceTimeoutError

from pipelines.errors import DataError
from pipelines.preferences.card import CONFIGS, GENERATED_BEGIN, GENERATED_END
from pipelines.run.files import write_text

TRANSPORT_ERROR: type[Exception] = InferenceTimeoutError.__bases__[0]
"""`HTTPError` of whichever httpx this huggingface_hub was built on; 2.4 has changed to another than 1.x had."""
_OF_THE_DATA = ("configs", "size_categories", "dataset_info")
"""Front matter that describes the files; what an earlier push said of them is stale."""
_STALE = {"dataset": [f"{table}/*.parquet" for table in CONFIGS], "model": ["*.safetensors"]}


def push_folder(folder: Path, repository: str, kind: Literal["dataset", "model"]) -> str:
    """Upload a folder and return its address. DataError, in one line, when the Hub refuses."""
    api = HfApi()
    try:
        api.create_repo(repository, repo_type=kind, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory() as scratch:
                path = api.hf_hub_download(repository, "README.md", repo_type=kind, local_dir=scratch)
                published = Path(path).read_text(encoding="utf-8")
        except EntryNotFoundError:
            published = ""
        card = folder / "README.md"
        write_text(card, merge_cards(published, card.read_text(encoding="utf-8")))
        # Files of an earlier push that this one lacks would otherwise stay and be loaded beside the new ones.
        api.upload_folder(
            repo_id=repository,
            repo_type=kind,
            folder_path=folder,
            delete_patterns=_STALE[kind],
        )
    except (HfHubHTTPError, TRANSPORT_ERROR, OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise DataError(
            f"{repository}: not pushed ({first_line}); all is safe in {folder}, log in with `hf auth login`"
        ) from error
    return f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repository}"


def merge_cards(published: str, generated: str) -> str:
    """The published card with its generated part replaced; other text and front matter stay as people wrote them."""
    if not published.strip():
        return generated
    old_front, old_body = _split(published)
    new_front, new_body = _split(generated)
    front = {**new_front, **old_front, **{name: new_front[name] for name in _OF_THE_DATA if name in new_front}}
    for name in _OF_THE_DATA:
        if name not in new_front:
            front.pop(name, None)
    before, begin, rest = old_body.partition(GENERATED_BEGIN)
    _, end, after = rest.partition(GENERATED_END)
    if begin and end:
        fresh = new_body[new_body.index(GENERATED_BEGIN) : new_body.index(GENERATED_END) + len(GENERATED_END)]
        body = before + fresh + after
    else:
        body = old_body.rstrip("\n") + "\n\n" + new_body.lstrip("\n")
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n{body}"


def _split(card: str) -> tuple[dict[str, Any], str]:
    """Front matter and body of a card."""
    if card.startswith("---\n") and "\n---\n" in card[4:]:
        head, _, body = card[4:].partition("\n---\n")
        front = yaml.safe_load(head)
        return (front if isinstance(front, dict) else {}), body
    return {}, card
