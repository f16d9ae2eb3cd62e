"""Replaces the forward pass: the tokens that a step samples, and the duration of the step."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.outputs import KVConnectorOutput, ModelRunnerOutput
from vllm.v1.request import Request

from ...data.workload.token_ids import END_ID
from .profile import StepProfile


@dataclass(slots=True)
class Output:
    """The output of a request: `ids[at:end]`, which ends with END_ID."""

    ids: list[int]
    at: int
    end: int

    def next_id(self) -> int:
        """The next token. A step in flight after the last token yields one more, which vLLM discards."""
        if self.at == self.end:
            return END_ID
        self.at += 1
        return self.ids[self.at - 1]

    def next_ids(self, count: int) -> list[int]:
        """The next `count` tokens; the output has as many."""
        self.at += count
        return self.ids[self.at - count : self.at]


@dataclass(slots=True, eq=False)
class Ahead:
    """A request that decodes several steps ahead (bulk/ahead.py)."""

    request: Request
    first_step: int
    scheduled: int
    tokens: int  # fewer than scheduled if it was preempted meanwhile
    context_tokens: int  # of the first step

    @property
    def last_step(self) -> int:
        return self.first_step + self.scheduled - 1


@dataclass(frozen=True, slots=True)
class Step:
    """A step in flight: its duration, its size, and which requests sample a token at its end."""

    scheduled: SchedulerOutput
    samples: list[bool]
    step_s: float
    prefill_tokens: int
    decode_sequences: int
    context_tokens: int
    transfers: KVConnectorOutput | None = None  # the report of the worker on KV copies, if any
    delivers: list[Ahead] = field(default_factory=list)  # requests whose tokens come with it
    bulk_ends_s: tuple[float, ...] = ()  # of a bulk: its start, then the end of each of its decode steps

    @property
    def steps(self) -> int:
        """How many of the engine's steps it stands for."""
        return max(len(self.bulk_ends_s) - 1, 1)

    @property
    def tokens(self) -> int:
        """Tokens that the engine computes."""
        return (self.prefill_tokens + self.decode_sequences) * self.steps


@dataclass(slots=True)
class ForwardPass:
    profile: StepProfile
    outputs: dict[str, Output] = field(default_factory=dict)

    def begin(
        self,
        scheduler: AsyncScheduler,
        scheduled: SchedulerOutput,
        ahead: int = 0,
        ahead_context: int = 0,
        delivers: list[Ahead] | None = None,
    ) -> Step:
        """To be called right after `schedule()`, before the requests change. The last arguments: see bulk/ahead.py."""
        requests = scheduler.requests
        counts = scheduled.num_scheduled_tokens
        samples = [not requests[request_id].is_prefill_chunk for request_id in counts]
        total = sum(counts.values())
        cached = scheduled.scheduled_cached_reqs
        context = total + sum(cached.num_computed_tokens) + ahead_context
        for new in scheduled.scheduled_new_reqs:
            context += new.num_computed_tokens
        # A single token counts as a decode; a prompt with one token left is rare.
        decodes = sum(map(int.__eq__, counts.values(), repeat(1)))
        chunks = _chunks(scheduled) if total > decodes and self.profile.prefill is not None else (None, None)
        prefill, decodes = total - decodes, decodes + ahead
        step_s = self.profile.step_s(prefill, decodes, context, *chunks)
        return Step(scheduled, samples, step_s, prefill, decodes, context, delivers=delivers or [])

    def begin_bulk(self, scheduled: SchedulerOutput, ends_s: tuple[float, ...]) -> Step:
        """A bulk of decode steps (bulk/)."""
        count = len(scheduled.num_scheduled_tokens)
        context = count + sum(scheduled.scheduled_cached_reqs.num_computed_tokens)
        step = Step(scheduled, [True] * count, ends_s[-1] - ends_s[0], 0, count, context, bulk_ends_s=ends_s)
        assert scheduled.total_num_scheduled_tokens == step.steps * count  # noqa: S101
        return step

    def end(self, step: Step) -> ModelRunnerOutput:
        if step.bulk_ends_s:
            return self._end_bulk(step)
        ids = list(step.scheduled.num_scheduled_tokens)
        outputs = self.outputs
        sampled = [
            [outputs[request_id].next_id()] if samples and request_id in outputs else []
            for request_id, samples in zip(ids, step.samples, strict=True)
        ]
        for ahead in step.delivers:
            request_id = ahead.request.request_id
            step.scheduled.num_scheduled_tokens[request_id] = ahead.scheduled
            ids.append(request_id)
            sampled.append(outputs[request_id].next_ids(ahead.tokens))
        index = {request_id: index for index, request_id in enumerate(ids)}
        return ModelRunnerOutput(ids, index, sampled, kv_connector_output=step.transfers)

    def _end_bulk(self, step: Step) -> ModelRunnerOutput:
        ids, steps = list(step.scheduled.num_scheduled_tokens), step.steps
        sampled = [self.outputs[request_id].next_ids(steps) for request_id in ids]
        return ModelRunnerOutput(ids, {request_id: index for index, request_id in enumerate(ids)}, sampled)


def prompt_chunks(scheduled: SchedulerOutput) -> Iterator[tuple[str, int, int]]:
    """(request, tokens computed before, tokens of the step) of each prompt chunk. One token counts as a decode."""
    counts, cached = scheduled.num_scheduled_tokens, scheduled.scheduled_cached_reqs
    computed = chain(
        zip(cached.req_ids, cached.num_computed_tokens, strict=True),
        ((new.req_id, new.num_computed_tokens) for new in scheduled.scheduled_new_reqs),
    )
    for request_id, before in computed:
        count = counts.get(request_id, 1)  # none: it decodes ahead
        if count > 1:
            yield request_id, before, count


def _chunks(scheduled: SchedulerOutput) -> tuple[int, float]:
    """KV tokens and query-key pairs of a step's prompt chunks (see PrefillAttention)."""
    context, pairs = 0, 0.0
    for _, before, count in prompt_chunks(scheduled):
        context += before + count
        pairs += count * (before + count / 2)
    return context, pairs
