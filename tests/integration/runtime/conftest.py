import random
from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vllm.config import LoRAConfig, SpeculativeConfig, VllmConfig
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutput
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output.backend_types import StructuredOutputGrammar

from augserve.models.serving.predictor import Predictor, Rows, TurnPredictions
from augserve.models.serving.settings import SchedulerSettings
from augserve.models.serving.tool_tables import ToolTables
from augserve.pipeline.simulator.engine import block_hasher, build_scheduler
from augserve.pipeline.simulator.profile import EngineLimits
from augserve.runtime.decisions import Decisions
from augserve.runtime.parts import Parts, Setup, trained_forecaster
from augserve.runtime.scheduler import AugServeScheduler
from augserve.runtime.vllm_compat import holding_queue

STEP_S = 0.02


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Constant:
    """A predictor with a constant answer, which a test may replace or break."""

    tables = ToolTables()

    def __init__(self) -> None:
        self.answer = (10.0, 50.0, 200.0)
        self.broken = False

    def _rows(self, rows: Rows) -> Rows:
        if self.broken:
            raise RuntimeError("the predictor is broken")
        return np.tile(np.array(self.answer, np.float32), (len(rows), 1))

    def turns(self, rows: Rows) -> TurnPredictions:
        answer = self._rows(rows)
        return TurnPredictions(answer, answer, answer, np.full(len(rows), 0.5, np.float32))

    tool_duration = _rows


class Guessing:
    """Seeded random predictions: sessions that continue or end, pauses of all lengths."""

    tables = ToolTables()

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)

    def turns(self, rows: Rows) -> TurnPredictions:
        output, left = self.tool_duration(rows), self.tool_duration(rows)
        return TurnPredictions(output, left, left, np.full(len(rows), 0.5, np.float32))

    def tool_duration(self, rows: Rows) -> Rows:
        return self.random.uniform(0.0, 8.0, (len(rows), 3)).astype(np.float32)


class TestedScheduler(AugServeScheduler):
    """AugServe's scheduler with the clock, the settings and the predictor of a test."""

    __test__ = False
    settings: SchedulerSettings
    predictor: Any
    decisions: Decisions


def tested_scheduler(
    base: type[TestedScheduler], clock: Clock, settings: SchedulerSettings, predictor: Predictor
) -> type[TestedScheduler]:
    parts = Parts(settings, partial(trained_forecaster, predictor, None), "test-1")
    facts = {"setup": Setup(clock, lambda _: parts), "settings": settings, "predictor": predictor}
    return type(base.__name__, (base,), facts)


def started_with(change: Callable[[VllmConfig], None], base: type[AsyncScheduler]) -> type[AsyncScheduler]:
    """A scheduler class that vLLM starts with a changed configuration."""

    class Changed(base):  # type: ignore[valid-type, misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            change(kwargs["vllm_config"])
            super().__init__(*args, **kwargs)

    return Changed


def by_priority(config: VllmConfig) -> None:
    """`--scheduling-policy priority`"""
    config.scheduler_config.policy = "priority"


def one_lora(config: VllmConfig) -> None:
    """`--enable-lora --max-loras 1`"""
    config.lora_config = LoRAConfig(max_loras=1)


def speculating(config: VllmConfig) -> None:
    """`--speculative-config`, three drafts a step."""
    config.speculative_config = SpeculativeConfig(
        method="ngram",
        num_speculative_tokens=3,
        prompt_lookup_min=1,
        prompt_lookup_max=3,
        target_model_config=config.model_config,
        target_parallel_config=config.parallel_config,
    )


def whole_prompts(config: VllmConfig) -> None:
    """`--no-enable-chunked-prefill`"""
    config.scheduler_config.enable_chunked_prefill = False
    config.scheduler_config.max_num_batched_tokens = 4096


def no_prefix_caching(config: VllmConfig) -> None:
    """`--no-enable-prefix-caching`"""
    config.cache_config.enable_prefix_caching = False


def second_of_two(config: VllmConfig) -> None:
    """`--data-parallel-size 2`, its second engine."""
    config.parallel_config.data_parallel_size = 2
    config.parallel_config.data_parallel_index = 1
    config.parallel_config.data_parallel_rank = 1


def second_of_two_dense(config: VllmConfig) -> None:
    """`--data-parallel-size 2`, the second engine of a dense model: vLLM tells it that it is alone."""
    config.parallel_config.data_parallel_index = 1


def balanced_outside(config: VllmConfig) -> None:
    """`--data-parallel-size 2 --data-parallel-external-lb`, its second engine."""
    second_of_two(config)
    config.parallel_config.data_parallel_external_lb = True


def pipelined(config: VllmConfig) -> None:
    """`--pipeline-parallel-size 2`"""
    config.parallel_config.pipeline_parallel_size = 2


def pipelined_synchronously(config: VllmConfig) -> None:
    """`--pipeline-parallel-size 2` with vLLM's first model runner, which switches asynchronous scheduling off."""
    pipelined(config)
    config.scheduler_config.async_scheduling = False


def diffusion(config: VllmConfig) -> None:
    """A model that denoises a canvas of tokens."""
    config.model_config = copy(config.model_config)
    config.model_config.__dict__["is_diffusion"] = True


def pooling(config: VllmConfig) -> None:
    """A model that embeds prompts."""
    config.model_config = copy(config.model_config)
    config.model_config.__dict__["runner_type"] = "pooling"


def whole_images(config: VllmConfig) -> None:
    """A model that reads an image in both directions; each image is one prefill."""
    config.scheduler_config.disable_chunked_mm_input = True


class Grammar(StructuredOutputGrammar):
    """A compiled grammar that accepts any token."""

    def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
        return True

    def validate_tokens(self, tokens: list[int]) -> list[int]:
        return tokens

    def rollback(self, num_tokens: int) -> None: ...

    def fill_bitmask(self, bitmask: object, batch_index: int) -> None: ...

    def is_terminated(self) -> bool:
        return False

    def reset(self) -> None: ...


class Engine:
    """A scheduler and a forward pass that samples a constant token and accepts some of the drafts, with one or two
    steps in flight."""

    def __init__(self, scheduler: AsyncScheduler, clock: Clock) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self.in_flight: list[tuple[SchedulerOutput, list[list[int]]]] = []
        self.outputs: list[EngineCoreOutput] = []
        self.scheduled: list[dict[str, int]] = []
        self.budgets: list[int] = []
        self.last: SchedulerOutput | None = None
        self.reported_finished: set[str] = set()  # as one engine of several reports to its front end
        self.drafts = random.Random(1)

    def add(self, number: int, prompt: int, output: int, session: str | None = None, **facts: Any) -> Request:
        shared = facts.pop("before", None) or list(range(100, 100 + prompt // 2))
        own = random.Random(number).choices(range(100, 30_000), k=prompt - len(shared))
        params = SamplingParams(
            max_tokens=output,
            ignore_eos=True,
            extra_args=facts.pop("extra_args", None),
            structured_outputs=StructuredOutputsParams(json="{}") if facts.pop("structured", False) else None,
            seed=facts.pop("seed", None),
            temperature=facts.pop("temperature", 1.0),
        )
        request = Request(
            f"r{number}",
            shared + own,
            params,
            None,
            arrival_time=facts.pop("arrival_s", self.clock.now_s),
            session_id=session,
            block_hasher=block_hasher(),
            **facts,
        )
        self.scheduler.add_request(request)
        return request

    def schedule(self, *throttle_prefills: bool) -> SchedulerOutput:
        scheduled = self.scheduler.schedule(*throttle_prefills)
        requests = self.scheduler.requests
        drafts = scheduled.scheduled_spec_decode_tokens
        tokens = [
            [] if requests[each].is_prefill_chunk else [7] * (1 + self.drafts.randint(0, len(drafts.get(each, ()))))
            for each in scheduled.num_scheduled_tokens
        ]
        self.last = scheduled
        self.in_flight.append((scheduled, tokens))
        self.scheduled.append(dict(scheduled.num_scheduled_tokens))
        self.budgets.append(self.scheduler.max_num_scheduled_tokens)
        return scheduled

    def answer(self) -> None:
        scheduled, tokens = self.in_flight.pop(0)
        ids = list(scheduled.num_scheduled_tokens)
        result = ModelRunnerOutput(ids, {each: index for index, each in enumerate(ids)}, tokens)
        for outputs in self.scheduler.update_from_output(scheduled, result).values():
            self.outputs.extend(outputs.outputs)
            self.reported_finished |= outputs.finished_requests or set()

    def step(self) -> None:
        """Schedule a step and answer the one before it, as vLLM does."""
        self.clock.now_s += STEP_S
        self.schedule()
        if len(self.in_flight) > 1:
            self.answer()

    def drain(self, step: Callable[[], None] | None = None) -> None:
        for _ in range(20_000):
            if not self.scheduler.has_requests():
                break
            (step or self.step)()
        while self.in_flight:
            self.answer()
        assert not self.scheduler.has_unfinished_requests()

    def drain_until(self, reached: Callable[[], bool]) -> None:
        """Step until the condition holds, with no step in flight."""
        for _ in range(1_000):
            self.step()
            while self.in_flight:
                self.answer()
            if reached():
                return
        raise AssertionError("the condition is never reached")

    def assert_nothing_is_left(self) -> None:
        """Every block is free but those of paused sessions, every queue empty, every turn forgotten."""
        scheduler = self.scheduler
        if isinstance(scheduler, AugServeScheduler) and scheduler.decisions is not None:
            scheduler.decisions.contexts.release_all()
        pool = scheduler.kv_cache_manager.block_pool
        assert pool.get_num_free_blocks() == pool.num_gpu_blocks - 1
        assert not scheduler.requests
        assert not scheduler.running
        assert not scheduler.waiting
        assert not holding_queue(scheduler)
        assert not getattr(scheduler, "deferred_waiting", ())
        if isinstance(scheduler, AugServeScheduler):
            assert not scheduler.lifecycle.turns

    def finished(self) -> dict[str, int]:
        """Output tokens of each request that has ended."""
        tokens: dict[str, int] = {}
        for output in self.outputs:
            tokens[output.request_id] = tokens.get(output.request_id, 0) + len(output.new_token_ids)
        ended = {output.request_id for output in self.outputs if output.finish_reason is not None}
        return {request_id: count for request_id, count in tokens.items() if request_id in ended}


EngineMaker = Callable[..., Engine]


@pytest.fixture
def make_engine(tmp_path: Path) -> Iterator[EngineMaker]:
    made: list[AsyncScheduler] = []

    def make(
        scheduler: type[AsyncScheduler] = TestedScheduler,
        mode: str = "active",
        kv_tokens: int = 16_384,
        max_num_seqs: int = 32,
        traces: bool = False,
        settings: SchedulerSettings | None = None,
        predictor: Predictor | None = None,
        deployment: dict[str, Any] | None = None,
        change: Callable[[VllmConfig], None] | None = None,
        **arguments: Any,
    ) -> Engine:
        clock = Clock()
        section = {"mode": mode, **({"traces": str(tmp_path / "traces")} if traces else {}), **(deployment or {})}
        limits = EngineLimits(
            kv_tokens=kv_tokens, max_model_len=4096, max_num_seqs=max_num_seqs, max_num_batched_tokens=2048
        )
        if issubclass(scheduler, TestedScheduler):
            scheduler = tested_scheduler(scheduler, clock, settings or SchedulerSettings(), predictor or Constant())
        if change is not None:
            scheduler = started_with(change, scheduler)
        built = build_scheduler(scheduler, limits, {"augserve": section}, **arguments)
        made.append(built)
        return Engine(built, clock)

    yield make
    for scheduler in made:
        scheduler.shutdown()
