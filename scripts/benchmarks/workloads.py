"""What the sampling engines are measured on: real few-shot tasks, n completions of each."""

from __future__ import annotations

import dataclasses

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.config import Config, FamilyConfig, TasksConfig
from pipelines.engine.grammar import Grammar, Vocabulary
from pipelines.engine.requests import Decoding, Request, build_processors
from pipelines.models import end_tokens, render_prompt
from pipelines.records import Task
from pipelines.samples.drawing import sample_seed
from pipelines.samples.grammars import schema_grammar
from pipelines.tasks import build_prompt
from pipelines.tasks.splits import build_tasks

_EXAMPLES = 3
_FAMILIES = {
    "smoke": {"range": 2},
    "short": {"range": 16},
    "long": {"range": 11, "letters": 11, "words": 11, "object": 11, "flags": 10, "nested": 10},
}
_SAMPLES = {"smoke": 3, "short": 12, "long": 16}
_MAX_NEW_TOKENS = {"smoke": 8, "short": 40, "long": 128}
NAMES = tuple(_FAMILIES)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """Prompts as token ids, and how many completions of each."""

    name: str
    tasks: tuple[Task, ...]
    prompts: tuple[tuple[int, ...], ...]
    grammars: tuple[Grammar, ...]
    """Of the tasks' schemas."""
    samples: int
    """Completions of each prompt."""
    max_new_tokens: int
    end_tokens: tuple[int, ...]
    pad_token: int
    batch_size: int = 256

    def requests(self, seed: int, *, under_grammar: bool = False) -> list[Request]:
        """For our engine, other draws for another seed."""
        return [
            Request(
                prompt=prompt,
                seeds=tuple(sample_seed(seed, task.id, index) for index in range(self.samples)),
                grammar=grammar if under_grammar else None,
            )
            for task, prompt, grammar in zip(self.tasks, self.prompts, self.grammars, strict=True)
        ]

    def decoding(self) -> Decoding:
        """The policy's own distribution, temperature 1."""
        return Decoding(
            max_new_tokens=self.max_new_tokens,
            end_tokens=self.end_tokens,
            pad_token=self.pad_token,
            batch_size=self.batch_size,
            processors=build_processors({}),
        )


def build_workload(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Workload:
    """`short`: 16 range prompts × 12, at most 40 tokens; `long`: 64 prompts of six families × 16, at most 128.

    `smoke` is 2 × 3, at most 8: that everything runs, no more.
    """
    families = {family: FamilyConfig(train=count, test=1) for family, count in _FAMILIES[name].items()}
    tasks = build_tasks(Config(tasks=TasksConfig(families=families)))
    asked = tuple(task for task in tasks if task.split == "train")
    ends = end_tokens(model, tokenizer)
    vocabulary = Vocabulary(tokenizer, model.get_output_embeddings().weight.shape[0], ends)
    grammars = [vocabulary.compile(schema_grammar(task.schema)) for task in asked if task.schema]
    assert all(isinstance(one, Grammar) for one in grammars)
    return Workload(
        name=name,
        tasks=asked,
        prompts=tuple(tuple(render_prompt(tokenizer, list(build_prompt(task, tasks, _EXAMPLES)[0]))) for task in asked),
        grammars=tuple(one for one in grammars if isinstance(one, Grammar)),
        samples=_SAMPLES[name],
        max_new_tokens=_MAX_NEW_TOKENS[name],
        end_tokens=ends,
        pad_token=tokenizer.pad_token_id,
    )
