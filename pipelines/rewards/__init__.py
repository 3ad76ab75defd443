"""The verifier: strict JSON, JSON Schema, verdicts tier by tier, scores. Pure Python values in and out, no torch.

    parse_json(document)                    the value of an RFC 8259 document, or JSONRejected
    verify(completion, task, finish_reason)  -> Verdict; never raises for a completion
    locate_fault(text, task)                -> Fault, the first character beyond repair, or None when it passes
    score(verdict, scoring)                 -> float in [0, 1], lexicographic in the tiers
    json_reward(prompts, completions, ...)  TRL's reward signature
    check_task(schema, target)              DataError when no completion could meet them
    compile_schema(schema)                  DataError when it is no JSON Schema

Does not sample, store or pair completions.
"""

from pipelines.rewards.faults import Fault, locate_fault
from pipelines.rewards.json_parser import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, REASONS, JSONRejected, parse_json
from pipelines.rewards.reward import DEFAULT_SCORING, Scoring, json_reward, score
from pipelines.rewards.schemas import CompiledSchema, compile_schema, pins_answer
from pipelines.rewards.verdicts import TIER_REASONS, check_task, verify

__all__ = [
    "DEFAULT_SCORING",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_DIGITS",
    "REASONS",
    "TIER_REASONS",
    "CompiledSchema",
    "Fault",
    "JSONRejected",
    "Scoring",
    "check_task",
    "compile_schema",
    "json_reward",
    "locate_fault",
    "parse_json",
    "pins_answer",
    "score",
    "verify",
]
