"""What the prefix cache could have held: the best possible hits, and the engine time spent on lost contexts.

A token counts as computed before if a step of the run has computed its block, whose hash covers the prompt up to its
end: by the session itself, or by another one with the same prefix. vLLM never takes the block with a prompt's last
token from the cache, so the best possible hits leave it out too.
"""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.request import Request

from ....data.workload.model import Session
from ..forward import Step, prompt_chunks
from ..profile import StepProfile
from ..record.records import EngineUse, TurnRecord
from ..record.window import Window
from .observer import Observer


class CacheUse(Observer):
    """Sets `best_cached_tokens` of each turn when it is first scheduled, and adds up engine time in the window.

    The time of recomputation is, over the steps with prompt chunks: (step time − step time without the chunks) ×
    recomputed tokens / prompt tokens of the step. The context of a preempted turn counts, its output so far included.
    """

    def __init__(self, profile: StepProfile, window: Window) -> None:
        self.engine_use = EngineUse()
        self._profile = profile
        self._window = window
        self._block_tokens = profile.limits.block_tokens
        self._computed: set[Any] = set()  # hashes of blocks
        self._open: dict[str, tuple[TurnRecord, Request]] = {}  # by request id

    def turn_arrived(self, record: TurnRecord, request: Request, session: Session) -> None:  # noqa: ARG002
        self._open[request.request_id] = record, request

    def turn_sent_again(self, record: TurnRecord, request: Request) -> None:
        self._open[request.request_id] = record, request

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:  # noqa: ARG002
        in_window_s = self._window.overlap_s(ends_s - step.step_s, ends_s)
        self.engine_use.busy_s += in_window_s
        for new in step.scheduled.scheduled_new_reqs:
            record, request = self._open[new.req_id]
            if record.best_cached_tokens is None:
                record.best_cached_tokens = self._best_tokens(request)
        if not step.prefill_tokens:
            return
        again: dict[str, int] = {}  # recomputed tokens by session
        chunks_context = 0
        for request_id, before, count in prompt_chunks(step.scheduled):
            record, request = self._open[request_id]
            tokens = max(0, min(before + count, self._known_tokens(request)) - before)
            if tokens:
                again[record.session_id] = again.get(record.session_id, 0) + tokens
            self._add(request, before, before + count)
            chunks_context += before + count
        if again and in_window_s:
            decode_s = self._profile.step_s(0, step.decode_sequences, step.context_tokens - chunks_context)
            token_s = (step.step_s - decode_s) / step.prefill_tokens * in_window_s / step.step_s
            recomputed_s = self.engine_use.recomputed_s
            for session_id, tokens in again.items():
                recomputed_s[session_id] = recomputed_s.get(session_id, 0.0) + tokens * token_s

    def turn_finished(self, record: TurnRecord, reason: str) -> None:  # noqa: ARG002
        _, request = self._open.pop(f"{record.session_id}/{record.turn}")
        # The last token is never computed.
        self._add(request, record.prompt_tokens, record.prompt_tokens + record.output_tokens - 1)

    def _add(self, request: Request, first: int, end: int) -> None:
        """Note the blocks that end among the tokens `first` to `end`, and the one before."""
        first_block = max(first - 1, 0) // self._block_tokens  # a chunk of one token may have ended it
        self._computed.update(request.block_hashes[first_block : end // self._block_tokens])

    def _best_tokens(self, request: Request) -> int:
        """The hit of an unbounded cache: whole blocks from the prompt's start that were computed before."""
        hashes, computed = request.block_hashes, self._computed
        low, high = 0, (request.num_tokens - 1) // self._block_tokens
        while low < high:  # a block was computed only after all blocks before it
            middle = (low + high + 1) // 2
            low, high = (middle, high) if hashes[middle - 1] in computed else (low, middle - 1)
        return low * self._block_tokens

    def _known_tokens(self, request: Request) -> int:
        """The tokens computed before. A turn with output was preempted: only its last token was never computed."""
        return request.num_tokens - 1 if request.num_output_tokens else self._best_tokens(request)
