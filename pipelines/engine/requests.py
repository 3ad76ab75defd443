"""What a sampler is asked for and what it gives back; the same for every engine.

Token ids and numbers only: what a task is, and what a completion says, are other modules' business.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.generation import (
    LogitsProcessorList,
    MinPLogitsWarper,
    StoppingCriteriaList,
    StopStringCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pipelines.engine.grammar import Grammar
from pipelines.errors import ConfigError

_GENERATION = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "stop_strings": ()}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One prompt and the seeds of the completions wanted for it."""

    prompt: tuple[int, ...]
    seeds: tuple[int, ...]
    prefix: tuple[int, ...] = ()
    """What every completion begins with; it counts towards the limit."""
    forbidden: tuple[int, ...] = ()
    """Tokens that none of them has first behind the prefix: its distribution is renormalised without them."""
    grammar: Grammar | None = None
    """What the completions, prefix included, are to be texts of; None for any."""

    def __post_init__(self) -> None:
        assert self.prompt
        assert self.seeds


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One completion: its tokens (the end token included, if it came) and what the policy thought of them."""

    tokens: tuple[int, ...]
    """Those drawn, behind the request's prefix."""
    logprobs_nats: tuple[float, ...]
    """Each token's log-probability under the policy's own distribution, before anything reshapes it."""
    allowed_nats: tuple[float, ...]
    """Log of the probability that the policy's own distribution gives to all tokens the grammar allows there, in
    (-inf, 0]; 0 without a grammar."""
    ended: bool
    """Whether an end token or a stop string came before the limit."""
    failed: str | None = None
    """What the grammar's matcher said when it failed, which is where the completion breaks off."""

    @property
    def logprob_nats(self) -> float:
        """Of the whole completion."""
        return math.fsum(self.logprobs_nats)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How tokens are drawn, the same for all requests."""

    max_new_tokens: int
    end_tokens: tuple[int, ...]
    pad_token: int
    batch_size: int
    """Completions in progress side by side, at most; a request with more seeds is cut into parts."""
    processors: LogitsProcessorList
    """transformers' processors that reshape the distribution; empty for the policy's own."""
    greedy: bool = False
    """The most likely token each time, whatever the seed."""
    stopping: StoppingCriteriaList = dataclasses.field(default_factory=StoppingCriteriaList)
    """transformers' criteria beside the end tokens: stop strings."""


def build_processors(generation: dict[str, Any]) -> LogitsProcessorList:
    """transformers' processors for `temperature`, `top_k`, `top_p`, `min_p`, in its order; ConfigError if refused."""
    values = _checked(generation)
    processors = LogitsProcessorList()
    try:
        if values["temperature"] != 1.0:
            processors.append(TemperatureLogitsWarper(float(values["temperature"])))
        if values["top_k"]:
            processors.append(TopKLogitsWarper(values["top_k"]))
        if values["top_p"] < 1.0:
            processors.append(TopPLogitsWarper(float(values["top_p"])))
        if values["min_p"]:
            processors.append(MinPLogitsWarper(float(values["min_p"])))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"generation: {error}; fix the value") from error
    return processors


def build_stopping(generation: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> StoppingCriteriaList:
    """transformers' criterion for `stop_strings`, empty without any."""
    strings = _checked(generation)["stop_strings"]
    return StoppingCriteriaList([StopStringCriteria(tokenizer, list(strings))] if strings else [])


def is_greedy(generation: dict[str, Any]) -> bool:
    """Whether `do_sample: false` asks for the most likely token each time."""
    return not _checked(generation)["do_sample"]


def _checked(generation: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(generation) - set(_GENERATION))
    if unknown:
        raise ConfigError(f"generation.{unknown[0]} is not supported; use {', '.join(_GENERATION)}")
    values = {**_GENERATION, **generation}
    if not isinstance(values["do_sample"], bool):
        raise ConfigError(f"generation.do_sample must be true or false, got {values['do_sample']!r}; pick one")
    strings = values["stop_strings"]
    if not isinstance(strings, list | tuple) or not all(isinstance(text, str) and text for text in strings):
        raise ConfigError(f"generation.stop_strings must be a list of texts, got {strings!r}; write ['…']")
    return values
