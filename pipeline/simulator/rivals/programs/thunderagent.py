"""ThunderAgent: programs are paused and resumed so that the contexts of the active ones fit into the KV cache.

Kang et al., "ThunderAgent: A Simple, Fast and Program-Aware Agentic Inference System" (arXiv 2602.13692, 2026;
github.com/ThunderAgent-org/ThunderAgent, wiki/Scheduler, mode `tr` with its defaults, on one backend).
"""

from typing import Any

from .base import Program, ProgramScheduler

INTERVAL_S = 5.0
"""Between two checks."""
BUFFER_TOKENS = 100
"""Room for the decodes of each active program."""
FORCED_AFTER_S = 1800.0
"""A program that has been paused for so long is resumed, whether or not it fits."""


class ThunderAgent(ProgramScheduler):
    """The active programs' contexts fit, those of acting programs included.

    A new program begins if it fits. At each check, paused programs that fit are resumed: first those whose turn waits,
    then new ones, then acting ones, the largest first. If the active ones have grown beyond the cache, programs are
    paused: first acting ones, then others as soon as they act, the smallest first.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._capacity_tokens = (self.kv_cache_manager.block_pool.num_gpu_blocks - 1) * self.block_size
        self._active: set[str] = set()
        self._marked: set[str] = set()  # active ones that are paused once they act
        self._paused_s: dict[str, float] = {}  # since when
        self._next_check_s = float("-inf")

    def looks_again_s(self) -> float:
        return min(super().looks_again_s(), self._next_check_s)

    def may_run(self, program_id: str) -> bool:
        return program_id in self._active

    def program_ended(self, program_id: str) -> None:
        self._active.discard(program_id)
        self._marked.discard(program_id)
        self._paused_s.pop(program_id, None)

    def review(self) -> None:
        now_s = self._clock()
        self._pause_marked(now_s)
        for program_id, program in self.programs.items():
            if program_id not in self._active and program_id not in self._paused_s:
                self._begin(program_id, program, now_s)
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + INTERVAL_S
            self._resume(now_s)
            self._pause_until_safe(now_s)
        waiting = any(program.reasons for program in self.programs.values())
        if waiting and not any(self.programs[program_id].reasons for program_id in self._active):
            self._activate(min(self._paused_s, key=self._order))  # the engine is never idle beside a waiting turn

    def _begin(self, program_id: str, program: Program, now_s: float) -> None:
        if self._fits(program):
            self._activate(program_id)
        else:
            self._paused_s[program_id] = now_s

    def _pause_marked(self, now_s: float) -> None:
        for program_id in [each for each in self._marked if not self.programs[each].reasons]:
            self._pause(program_id, now_s)

    def _resume(self, now_s: float) -> None:
        for program_id in sorted(self._paused_s, key=self._order):
            forced = now_s - self._paused_s[program_id] > FORCED_AFTER_S
            if forced or self._fits(self.programs[program_id]):
                self._activate(program_id)

    def _order(self, program_id: str) -> tuple[int, int]:
        program = self.programs[program_id]
        group = 2 if not program.reasons else 1 if program.turns == 1 else 0
        return group, -program.tokens

    def _pause_until_safe(self, now_s: float) -> None:
        excess = self._used_tokens() - self._capacity_tokens
        excess -= sum(self._size(self.programs[program_id]) for program_id in self._marked)
        unmarked = self._active - self._marked
        by_size = sorted(unmarked, key=lambda each: (self.programs[each].reasons, self.programs[each].tokens))
        for program_id in by_size:
            if excess <= 0:
                return
            excess -= self._size(self.programs[program_id])
            if self.programs[program_id].reasons:
                self._marked.add(program_id)
            else:
                self._pause(program_id, now_s)

    def _activate(self, program_id: str) -> None:
        self._paused_s.pop(program_id, None)
        self._active.add(program_id)

    def _pause(self, program_id: str, now_s: float) -> None:
        self._active.discard(program_id)
        self._marked.discard(program_id)
        self._paused_s[program_id] = now_s

    def _fits(self, program: Program) -> bool:
        return self._used_tokens() + self._size(program) <= self._capacity_tokens

    def _size(self, program: Program) -> int:
        return program.tokens + BUFFER_TOKENS

    def _used_tokens(self) -> int:
        """Contexts of the active programs, less what the running turns share in the cache."""
        used = sum(self._size(self.programs[program_id]) for program_id in self._active)
        running = sum(request.num_tokens for request in self.running)
        cached = self.kv_cache_manager.usage * self._capacity_tokens
        return used - max(int(running - cached), 0)
