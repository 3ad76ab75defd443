"""Ordinary requests before and after training: what a policy that learned to write JSON does when nobody asks for any.

Reads prompts and asks a policy; returns how many answers turned into JSON, their length, one answer per prompt to
look at, and, for the trained policy, how far its next-token distributions are from the base model's on its own answers.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.config import ChatConfig, SamplingConfig
from pipelines.models import Continuation, mean_kl_nats, next_tokens, render_prompt
from pipelines.rewards.rates import Rate
from pipelines.samples.drawing import seeded
from pipelines.samples.policies import LocalPolicy

_JSON_BEGINS = ("[", "{", "```json")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ChatFindings:
    """What a policy answered to ordinary requests."""

    answers: tuple[tuple[str, str], ...]
    """(prompt, text), in the order of the prompts."""
    continuations: tuple[Continuation, ...]
    """The same answers as token ids."""

    def first_of_each(self) -> dict[str, tuple[str, Continuation]]:
        """Prompt → its first answer, as text and as token ids."""
        first: dict[str, tuple[str, Continuation]] = {}
        for (prompt, text), one in zip(self.answers, self.continuations, strict=True):
            first.setdefault(prompt, (text, one))
        return first

    def summary(self) -> dict[str, Any]:
        """Counts, the share of JSON nobody asked for with its interval, and the mean length in tokens."""
        turned = sum(is_json_like(text) for _, text in self.answers)
        tokens = sum(len(one.completion) for one in self.continuations)
        return {
            "prompts": len({prompt for prompt, _ in self.answers}),
            "answers": len(self.answers),
            "json_share": dataclasses.asdict(Rate.of(turned, len(self.answers))),
            "mean_tokens": tokens / len(self.answers),
        }


def is_json_like(text: str) -> bool:
    """Whether an answer to an ordinary request begins as a JSON list, a JSON object or a fence around one."""
    return text.lstrip().startswith(_JSON_BEGINS)


def chat(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], settings: ChatConfig, seed: int
) -> ChatFindings:
    """Each prompt answered `settings.samples_per_prompt` times at temperature 1, seeded."""
    conversations = [
        seeded([{"role": "user", "content": prompt}], seed, prompt, range(settings.samples_per_prompt))
        for prompt in prompts
    ]
    sampling = SamplingConfig(max_new_tokens=settings.max_new_tokens)
    drawn = dict(LocalPolicy(model, tokenizer).complete(conversations, sampling))
    return ChatFindings(
        answers=tuple((prompt, one.text) for index, prompt in enumerate(prompts) for one in drawn[index]),
        continuations=tuple(
            Continuation(tuple(render_prompt(tokenizer, list(asked.messages))), one.tokens or ())
            for index, asked in enumerate(conversations)
            for one in drawn[index]
        ),
    )


def divergence(policy: PreTrainedModel, base: PreTrainedModel, findings: ChatFindings) -> float:
    """KL(policy ‖ base) in nats per token, on the policy's own first answer to each prompt."""
    rows = [one for _, one in findings.first_of_each().values()]
    return mean_kl_nats(rows, lambda some: next_tokens(policy, some), lambda some: next_tokens(base, some))
