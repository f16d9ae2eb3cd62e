"""The next step of the engine: a single one, with requests that decode ahead, or a bulk of decode steps."""

from collections.abc import Iterable, Iterator

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ..forward import ForwardPass, Step
from .ahead import MOST_AHEAD, DecodeAhead
from .paced import Paced, RoomForBulk
from .whole import BulkDecode


class Stepper:
    """Composes each step by vLLM's scheduler, and passes its output back."""

    def __init__(self, scheduler: AsyncScheduler, forward: ForwardPass, each_step: bool) -> None:
        """`each_step`: without bulks, because somebody wants to see each step of vLLM. Its statistics do, too."""
        self._scheduler = scheduler
        self._forward = forward
        self._paced = scheduler if isinstance(scheduler, Paced) else None
        self._computes = False  # whether the last single step may have computed a prompt
        self._whole: BulkDecode | None = None
        if isinstance(scheduler, RoomForBulk) and not (each_step or scheduler.log_stats):
            self._whole, self._ahead = BulkDecode(scheduler, forward.profile), DecodeAhead(scheduler)

    def next(self, starts_s: float, until_s: float, in_flight: Step | None) -> Step:
        """vLLM's next step. The engine can begin it at `starts_s`, after the one `in_flight`; at `until_s` is the next
        event."""
        scheduler, forward, whole = self._scheduler, self._forward, self._whole
        if whole is None:
            return forward.begin(scheduler, scheduler.schedule())
        ahead = self._ahead
        if not ahead and (ends_s := whole.ends_s(forward.outputs, starts_s, until_s)):
            return forward.begin_bulk(whole.schedule(ends_s), ends_s)
        computed, steps = self._computes, self._prompt_steps(whole)
        self._computes = steps > 0
        # After a lone step with a prompt, a whole bulk follows soon: it waits for those that decode ahead.
        ahead.plan(forward.outputs, steps if computed else 0)
        scheduled = scheduler.schedule()
        step = forward.begin(
            scheduler, scheduled, *ahead.scheduled(scheduled, None if in_flight is None else in_flight.delivers)
        )
        whole.note_refusal(step)
        return step

    def _prompt_steps(self, whole: BulkDecode) -> int:
        """Steps, MOST_AHEAD at most, in which prompts are computed; 0 where the next step is sure to compute none."""
        scheduler = self._scheduler
        lefts = [r.num_tokens - r.num_computed_tokens for r in scheduler.running if r.is_prefill_chunk]
        if lefts and not scheduler.waiting:
            return min(1 + sum(lefts) // scheduler.max_num_scheduled_tokens, MOST_AHEAD)
        return MOST_AHEAD if lefts or whole.may_admit() else 0

    def ends(self, step: Step, end_s: float) -> None:
        """Tell the policy of a step, or of a bulk of them, that ends at `end_s`, before it gets the output."""
        if (paced := self._paced) is None:
            return
        if step.bulk_ends_s:
            paced.decode_steps_end(step.bulk_ends_s, step.decode_sequences)
        elif step.tokens and not step.scheduled.total_num_scheduled_tokens:  # all of it was scheduled ahead
            paced.decode_steps_end((end_s - step.step_s, end_s), step.decode_sequences)
        else:
            paced.step_ends(step.prefill_tokens, step.decode_sequences)

    def undelivered(self, in_flight: Iterable[Step]) -> Iterator[tuple[str, int]]:
        """Requests with the number of tokens that they have decoded ahead in ended steps, and that did not come yet."""
        if self._whole is None:
            return
        steps = list(in_flight)
        ended = self._scheduler.current_step - len(steps)
        for ahead in (*self._ahead, *(ahead for step in steps for ahead in step.delivers)):
            yield ahead.request.request_id, min(max(ended - ahead.first_step + 1, 0), ahead.tokens)
