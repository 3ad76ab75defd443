"""What ends a turn: what the model declares, and what its chat template puts behind an answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.config import SamplingConfig
from pipelines.models import closing_token, end_tokens, load_model, turn_end
from pipelines.samples.drawing import seeded
from pipelines.samples.policies import LocalPolicy
from tests.tiny import SPECIAL_TOKENS, tiny_tokenizer

ASK = "{% for m in messages %}{{ m['role'] + ': ' }}"
DONE = "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
UNDECLARED = SPECIAL_TOKENS[1]
"""A special token that neither model nor tokenizer calls an end."""


def tokenizer_with(said: str, *added: str):
    """The tiny tokenizer, whose template writes each message as `said`."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(list(added))
    tokenizer.chat_template = ASK + said + DONE
    return tokenizer


@pytest.mark.parametrize(
    "said",
    [
        "{{ m['content'] + '<end>' }}",
        "{{ m['content'] + '<end>\\n' }}",
        "{{ m['content'] | trim + ' \\n<end>' + eos_token }}",
        "{{ ('<think>\\n\\n</think>\\n\\n' if m['role'] == 'assistant' else '') + m['content'] + '<end>\\n' }}",
        "{{ m['content'].split('</think>')[-1].lstrip('\\n') + '<end>' }}",
        "{% generation %}{{ m['content'] + '<end>' }}{% endgeneration %}",
        "{{ m['content'] + ('<end>\\n' if m['role'] == 'assistant' else '\\n') }}",
    ],
)
def test_the_templates_own_token_closes_a_turn(said: str):
    tokenizer = tokenizer_with(said, "<end>", "\n\n")
    assert tokenizer.convert_ids_to_tokens(closing_token(tokenizer)) == "<end>"


@pytest.mark.parametrize(
    ("said", "tail"),
    [
        ("{{ m['content'] + '\\n' }}", "\n"),
        ("{{ m['content'] + '\\n\\n' }}", "\n\n"),  # a token of its own, but white space stands in answers too
        ("{{ m['content'] + ' That is all.<end>' }}", " That is all.<end>"),
        ("{{ m['content'] }}", ""),
        ("{{ '<end>' }}", ""),  # nothing of the answer at all
        ("{{ raise_exception('no') }}", ""),
    ],
)
def test_without_such_a_token_only_what_is_declared_ends_a_turn(tiny, said: str, tail: str):
    tokenizer = tokenizer_with(said, "<end>", "\n\n")
    assert closing_token(tokenizer) is None
    assert tokenizer.decode(turn_end(tokenizer)) == tail
    assert end_tokens(tiny[0], tokenizer) == (tokenizer.eos_token_id,)


def test_a_model_without_a_template_has_its_declared_ends(tiny):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    assert end_tokens(tiny[0], tokenizer) == (tokenizer.eos_token_id,)


@pytest.fixture(scope="module")
def base(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """A model whose template closes turns with a token that it does not declare an end."""
    folder = shutil.copytree(tiny_folder, tmp_path_factory.mktemp("base") / "model")
    template = ASK + "{{ m['content'] + '" + UNDECLARED + "\\n' }}" + DONE
    (folder / "chat_template.jinja").write_text(template)
    return load_model(str(folder))


def test_completions_stop_at_the_templates_token_and_do_not_show_it(base):
    model, tokenizer = base
    conversation = seeded([{"role": "user", "content": "?"}], 0, "t", range(200))
    settings = SamplingConfig(samples_per_task=200, max_new_tokens=30)
    ((_, answers),) = LocalPolicy(model, tokenizer).complete([conversation], settings)
    closing = tokenizer.convert_tokens_to_ids(UNDECLARED)
    last = [one.tokens[-1] for one in answers if one.finish_reason == "stop"]
    assert set(last) == {closing, tokenizer.eos_token_id}
    assert not any(closing in one.tokens[:-1] or UNDECLARED in one.text for one in answers)


def test_whoever_gets_the_model_later_knows_the_end_too(base, tmp_path: Path):
    """transformers' `generate` on what an export saves, and TRL's GRPO."""
    model, tokenizer = base
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = load_model(str(tmp_path))
    for one in (model, again):
        assert one.generation_config.eos_token_id == [1, 2]
