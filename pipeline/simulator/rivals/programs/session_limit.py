"""A static limit on programs at once, in vLLM's order: what an operator sets in front of the server."""

from typing import Any

from .base import ProgramScheduler


class SessionLimit(ProgramScheduler):
    """At most `most_programs` are admitted, by arrival; each keeps its place until it ends. Predicts nothing."""

    def __init__(self, *args: Any, most_programs: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most_programs = most_programs
        self._admitted: set[str] = set()

    def review(self) -> None:
        for program_id in self.programs:
            if len(self._admitted) >= self._most_programs:
                return
            self._admitted.add(program_id)

    def may_run(self, program_id: str) -> bool:
        return program_id in self._admitted

    def program_ended(self, program_id: str) -> None:
        self._admitted.discard(program_id)
