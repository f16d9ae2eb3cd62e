"""The forward pass, replaced: which requests yield a token in a step, which token, and how long the step takes."""

from dataclasses import dataclass, field
from itertools import chain, repeat

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.outputs import KVConnectorOutput, ModelRunnerOutput

from ...data.workload.token_ids import END_ID
from .profile import StepProfile


@dataclass(slots=True)
class Output:
    """What a request's model will say: `ids[at:end]`, which ends with END_ID."""

    ids: list[int]
    at: int
    end: int

    def next_id(self) -> int:
        """The next token. A step already under way when the last one came adds one that vLLM throws away."""
        if self.at == self.end:
            return END_ID
        self.at += 1
        return self.ids[self.at - 1]


@dataclass(frozen=True, slots=True)
class Step:
    """A step under way: when it ends, and who samples in it. What is sampled is told when it ends."""

    scheduled: SchedulerOutput
    samples: list[bool]
    step_s: float
    prefill_tokens: int
    decode_sequences: int
    context_tokens: int
    transfers: KVConnectorOutput | None = None  # what the worker tells of KV copies, where there are any


@dataclass(slots=True)
class ForwardPass:
    profile: StepProfile
    outputs: dict[str, Output] = field(default_factory=dict)

    def begin(self, scheduler: AsyncScheduler, scheduled: SchedulerOutput) -> Step:
        """Called right after `schedule()`, while the requests still tell whose prompt is complete."""
        requests = scheduler.requests
        counts = scheduled.num_scheduled_tokens
        samples = [not requests[request_id].is_prefill_chunk for request_id in counts]
        total = scheduled.total_num_scheduled_tokens
        cached = scheduled.scheduled_cached_reqs
        context = total + sum(cached.num_computed_tokens)
        for new in scheduled.scheduled_new_reqs:
            context += new.num_computed_tokens
        # A single token is a decode, but for the rare prompt of which one token is left.
        decodes = sum(map(int.__eq__, counts.values(), repeat(1)))
        chunks = _chunks(scheduled) if total > decodes and self.profile.prefill is not None else (None, None)
        step_s = self.profile.step_s(total - decodes, decodes, context, *chunks)
        return Step(scheduled, samples, step_s, total - decodes, decodes, context)

    def end(self, step: Step) -> ModelRunnerOutput:
        ids = list(step.scheduled.num_scheduled_tokens)
        outputs = self.outputs
        sampled = [
            [outputs[request_id].next_id()] if samples and request_id in outputs else []
            for request_id, samples in zip(ids, step.samples, strict=True)
        ]
        index = {request_id: index for index, request_id in enumerate(ids)}
        return ModelRunnerOutput(ids, index, sampled, kv_connector_output=step.transfers)


def _chunks(scheduled: SchedulerOutput) -> tuple[int, float]:
    """KV tokens and query-key pairs of a step's prompt chunks (see PrefillAttention)."""
    counts = scheduled.num_scheduled_tokens
    cached = scheduled.scheduled_cached_reqs
    computed = chain(
        zip(cached.req_ids, cached.num_computed_tokens, strict=True),
        ((new.req_id, new.num_computed_tokens) for new in scheduled.scheduled_new_reqs),
    )
    context, pairs = 0, 0.0
    for request_id, before in computed:
        count = counts[request_id]
        if count > 1:
            context += before + count
            pairs += count * (before + count / 2)
    return context, pairs
