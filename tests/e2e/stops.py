"""A scheduler that notes how long AugServe has stopped the engine's loop: each part's longest call, and collections.

A server loads it by `--scheduler-cls`; it writes what it found to the file that STOPS_FILE names.
"""

import gc
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from augserve.data.atomic import write_text
from augserve.runtime.scheduler import AugServeScheduler
from augserve.runtime.vllm_compat import SchedulerOutput

VARIABLE = "STOPS_FILE"
ROOT = Path(__file__).parents[2]
WRITE_S = 1.0


class Stops:
    """Longest calls in seconds, `wall` and `processor` time; other programs of the machine lengthen `wall` alone."""

    def __init__(self) -> None:
        self.longest_s: dict[str, dict[str, float]] = {"wall": {}, "processor": {}}
        self._depth = 0
        self._began = (0.0, 0.0)
        self._loop_s = [0.0, 0.0]

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` of a guard; its first argument names the part."""

        def timed(reason: str, *args: Any, **kwargs: Any) -> Any:
            began = _now()
            self._depth += 1
            try:
                return call(reason, *args, **kwargs)
            finally:
                self._depth -= 1
                took = self._note(reason, began)
                if not self._depth:
                    self._loop_s = [self._loop_s[0] + took[0], self._loop_s[1] + took[1]]

        return timed

    def step_begins(self) -> None:
        """Note all parts since the last step, with its arrivals and ends."""
        self._add("all parts of a step", self._loop_s)
        self._loop_s = [0.0, 0.0]

    def collected(self, phase: str, facts: dict[str, int]) -> None:
        if phase == "start":
            self._began = _now()
        else:
            self._note(f"collection of generation {facts['generation']}", self._began)

    def _note(self, name: str, began: tuple[float, float]) -> list[float]:
        took = [end - start for end, start in zip(_now(), began, strict=True)]
        self._add(name, took)
        return took

    def _add(self, name: str, took: list[float]) -> None:
        for longest, took_s in zip(self.longest_s.values(), took, strict=True):
            longest[name] = max(longest.get(name, 0.0), took_s)


class TimedScheduler(AugServeScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stops = Stops()
        guard = self.engine.guard
        setattr(guard, "call", self._stops.timed(guard.call))  # noqa: B010 — mypy allows no assignment to a method
        gc.callbacks.append(self._stops.collected)
        threading.Thread(target=self._write, daemon=True).start()

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        self._stops.step_begins()
        return super().schedule(throttle_prefills)

    def _write(self) -> None:
        while True:
            time.sleep(WRITE_S)
            found = {clock: dict(longest_s) for clock, longest_s in self._stops.longest_s.items()}
            write_text(Path(os.environ[VARIABLE]), json.dumps(found))


def timed_server(file: Path) -> tuple[list[str], dict[str, str]]:
    """Arguments, after the hook's, and environment of a server whose stops go to `file`."""
    arguments = ["--scheduler-cls", "tests.e2e.stops.TimedScheduler"]
    return arguments, {VARIABLE: str(file), "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.thread_time()
