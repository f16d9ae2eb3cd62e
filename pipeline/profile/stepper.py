"""Times single steps of a real vLLM engine with dummy weights, through its public interface."""

import itertools
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..project.stage import StageError
from ..simulator.profile import BLOCK_TOKENS
from .engines import Engine, Model
from .fit import Work

LONG_TOKENS = 1 << 20  # an output that never ends


def write_config(model: Model, folder: Path) -> None:
    """Write a config.json of the model's shape. Dummy weights need nothing else."""
    kind = "qwen3" if model.head_norms else "llama"
    config = {
        "architectures": [f"{kind.title()}ForCausalLM"],
        "model_type": kind,
        "hidden_size": model.hidden,
        "intermediate_size": model.intermediate,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_size,
        "vocab_size": model.vocabulary,
        "max_position_embeddings": model.max_model_len,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


class VllmStepper:
    """Prepares the work of a step in a vLLM engine and times the step repeatedly."""

    def __init__(self, llm: Any, vocabulary: int, seed: int) -> None:
        self._engine = llm.llm_engine
        self._vocabulary = vocabulary
        self._random = np.random.default_rng(seed)
        self._names = map(str, itertools.count())

    @classmethod
    def start(cls, engine: Engine, folder: Path, gpu_memory_utilization: float, seed: int) -> "VllmStepper":
        """Start vLLM in this process with synchronous scheduling, so that one call is one step."""
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import LLM

        write_config(engine.model, folder)
        limits = engine.limits(gpu_memory_utilization)
        llm = LLM(
            model=str(folder),
            load_format="dummy",
            skip_tokenizer_init=True,
            dtype="bfloat16",
            tensor_parallel_size=engine.tensor_parallel,
            gpu_memory_utilization=gpu_memory_utilization,
            max_model_len=limits.max_model_len,
            max_num_seqs=limits.max_num_seqs,
            max_num_batched_tokens=limits.max_num_batched_tokens,
            enable_prefix_caching=True,
            async_scheduling=False,
            seed=seed,
        )
        return cls(llm, engine.model.vocabulary, seed)

    def steps_s(self, work: Work, repeats: int) -> list[float]:
        """Seconds of `repeats` successive steps of the same work.

        Raises StageError if vLLM split the work over several steps.
        """
        # vLLM's prefix cache holds whole blocks.
        prefixes = [self._tokens(work.prefix // BLOCK_TOKENS * BLOCK_TOKENS) for _ in range(work.chunks)]
        for prefix in prefixes:
            if prefix:
                self._finish([self._add(prefix, 1)])
        decodes = {self._add(self._tokens(work.decode_context), LONG_TOKENS) for _ in range(work.decodes)}
        started: set[str] = set()
        while started < decodes:
            started |= self._step()
        times = []
        for _ in range(repeats):
            chunks = {self._add([*prefix, *self._tokens(work.prefill_tokens)], 1) for prefix in prefixes}
            begin_s = time.perf_counter()
            sampled = self._step()
            times.append(time.perf_counter() - begin_s)
            if sampled != chunks | decodes:
                self._engine.abort_request([*chunks, *decodes])
                raise StageError(f"profile-gpu: vLLM split {work} over several steps; raise its token or KV budget")
        self._engine.abort_request(list(decodes))
        return times

    def _tokens(self, count: int) -> list[int]:
        return [int(token) for token in self._random.integers(3, self._vocabulary, count)]

    def _add(self, prompt: Sequence[int], max_tokens: int) -> str:
        from vllm import SamplingParams

        name = next(self._names)
        params = SamplingParams(max_tokens=max_tokens, ignore_eos=True, temperature=0.0, detokenize=False)
        self._engine.add_request(name, {"prompt_token_ids": list(prompt)}, params)
        return name

    def _step(self) -> set[str]:
        """Run one step and return the requests that got a token."""
        return {output.request_id for output in self._engine.step() if output.outputs and output.outputs[0].token_ids}

    def _finish(self, names: Sequence[str]) -> None:
        left = set(names)
        while left:
            left -= self._step()
