"""Completions for tasks: prompts rendered, seeds derived, samples turned into records.

Takes tasks and a `SamplingConfig`; leaves `Completion` records in the order of the tasks. Seeds derive from the run's
seed, the task's id and the sample's index, so a task's samples do not depend on which other tasks there are.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.config import Config, SamplingConfig
from pipelines.errors import DataError
from pipelines.models import load_model, model_identity, render_prompt
from pipelines.records import Completion, Task, dump_lines, load_lines
from pipelines.rundir import RunDir, write_text
from pipelines.sampling.engine import Decoding, Request, Sample, build_warpers, sample
from pipelines.tasks import build_messages
from pipelines.tasks.prompting import prompting_name

Policy = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def sample_tasks(
    policy: Policy, tasks: Sequence[Task], examples: Sequence[Task], settings: SamplingConfig, seed: int
) -> list[Completion]:
    """`settings.samples_per_task` completions of every task; `examples` holds the worked examples to draw on."""
    model, tokenizer = policy
    # Tasks of one family share their worked examples: side by side they share that computation too.
    ordered = sorted(tasks, key=lambda task: task.family)
    requests = [
        Request(
            prompt=tuple(render_prompt(tokenizer, build_messages(task, examples, settings.worked_examples))),
            seeds=tuple(sample_seed(seed, task.id, index) for index in range(settings.samples_per_task)),
        )
        for task in ordered
    ]
    decoding = Decoding(
        max_new_tokens=settings.max_new_tokens,
        end_tokens=end_tokens(policy),
        pad_token=tokenizer.pad_token_id,
        batch_size=settings.batch_size,
        warpers=build_warpers(settings.generation),
    )
    completions: dict[str, list[Completion]] = {task.id: [] for task in tasks}
    wanted = len(tasks) * settings.samples_per_task
    with tqdm(total=wanted, desc="sampling", unit="completion", disable=None, leave=False) as progress:
        for position, drawn in sample(model, requests, decoding):
            task, request = ordered[position], requests[position]
            own = completions[task.id]
            own.append(
                Completion(
                    task_id=task.id,
                    index=len(own),
                    prompting=prompting_name(settings.worked_examples),
                    text=_text(tokenizer, drawn),
                    finish_reason="stop" if drawn.ended else "length",
                    prompt_tokens=len(request.prompt),
                    completion_tokens=len(drawn.tokens),
                    logprob_nats=drawn.logprob_nats,
                    seed=request.seeds[len(own)],
                )
            )
            progress.update()
    return [completion for task in tasks for completion in completions[task.id]]


def sample_seed(run_seed: int, task_id: str, index: int) -> int:
    """63 bits that name one sample of one task of one run."""
    digest = hashlib.sha256(f"{run_seed}/{task_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def end_tokens(policy: Policy) -> tuple[int, ...]:
    """Ids that end a completion: the model's and the tokenizer's end tokens."""
    model, tokenizer = policy
    declared = model.generation_config.eos_token_id
    ids = declared if isinstance(declared, list) else [declared]
    return tuple(sorted({token for token in [*ids, tokenizer.eos_token_id] if token is not None}))


def _text(tokenizer: PreTrainedTokenizerBase, drawn: Sample) -> str:
    """The completion as text, without the end token that closed it; other special tokens stay visible."""
    ids = drawn.tokens[:-1] if drawn.ended else drawn.tokens
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def sample_training_tasks(config: Config, run: RunDir) -> dict[str, Any]:
    """Write `samples/completions.jsonl` for the run's training tasks; returns counts and speed."""
    tasks = load_lines(Task, run.require(run.tasks_file, "build_tasks.py"))
    trained = [task for task in tasks if task.split == "train"]
    if not trained:
        raise DataError(f"{run.tasks_file}: no task to train on; raise tasks.families.*.train or add tasks.files")
    policy = load_model(config.model)
    run.record(model=model_identity(config.model))
    started = time.monotonic()
    completions = sample_tasks(policy, trained, tasks, config.sampling, config.seed)
    seconds = time.monotonic() - started
    write_text(run.completions_file, dump_lines(completions))
    tokens = sum(completion.completion_tokens for completion in completions)
    return {
        "tasks": len(trained),
        "completions": len(completions),
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds),
    }
