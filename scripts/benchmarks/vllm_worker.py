"""vLLM in an environment of its own, driven over standard input and output. Imports nothing of this project.

    PYTHON_WITH_VLLM vllm_worker.py MODEL_FOLDER

Draws differ from call to call: a seed per request is not to be had (vLLM 0.32's CPU build fails on one).

Each line read is a JSON object with prompts (token ids), n, max_tokens and stop_token_ids; each line written
holds the seconds it took and the token ids of every completion.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Serve requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM logs to standard output
    # Before the import, which reads them.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
    from vllm import LLM, SamplingParams, __version__

    engine = LLM(sys.argv[1], dtype="float32", enable_prefix_caching=True, max_model_len=1024, max_num_seqs=256)
    print(json.dumps({"version": __version__}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        settings = SamplingParams(
            n=asked["n"],
            temperature=1.0,
            max_tokens=asked["max_tokens"],
            stop_token_ids=asked["stop_token_ids"],
            detokenize=False,
        )
        started = time.perf_counter()
        outputs = engine.generate([{"prompt_token_ids": ids} for ids in asked["prompts"]], settings, use_tqdm=False)
        seconds = time.perf_counter() - started
        completions = [[list(one.token_ids) for one in output.outputs] for output in outputs]
        print(json.dumps({"seconds": seconds, "completions": completions}), file=answers, flush=True)


if __name__ == "__main__":
    main()
