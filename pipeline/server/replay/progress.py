"""A replay's progress bar: by time if its duration is known, else by turns."""

from types import TracebackType
from typing import Any

from tqdm import tqdm

from .runner import ReplayedTurn


class Progress:
    def __init__(self, name: str, turns: int, duration_s: float | None) -> None:
        self._by_time = duration_s is not None
        total, unit = (turns, " turns") if duration_s is None else (round(duration_s), "s")
        self._bar: Any = tqdm(desc=name, total=total, unit=unit, mininterval=1)
        self._turns = self._failed = 0

    def turn_done(self, turn: ReplayedTurn) -> None:
        self._turns += 1
        self._failed += turn.failure is not None
        if not self._by_time:
            self._bar.update()

    def tick(self, since_start_s: float) -> None:
        if self._by_time:
            self._bar.update(max(min(int(since_start_s), self._bar.total) - self._bar.n, 0))
        self._bar.set_postfix(turns=self._turns, failed=self._failed, refresh=False)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
