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
LONG_S = 0.02
WHOLE_STEP = "all parts of a step"


class Stops:
    """Calls of each part since the first step: how many, the longest in seconds, and how many took longer than LONG_S.

    `wall` and `processor` time; other programs of the machine lengthen `wall` alone, if they leave it enough processor.
    """

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}
        self._steps = 0
        self._depth = 0
        self._began = (0.0, 0.0)
        self._loop_s = (0.0, 0.0)

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` of a guard; its first argument names the part."""

        def timed(reason: str, *args: Any, **kwargs: Any) -> Any:
            began = _now()
            self._depth += 1
            try:
                return call(reason, *args, **kwargs)
            finally:
                self._depth -= 1
                took_s = _since(began)
                self._note(reason, took_s)
                if not self._depth:
                    self._loop_s = (self._loop_s[0] + took_s[0], self._loop_s[1] + took_s[1])

        return timed

    def step_begins(self) -> None:
        """Note all parts since the last step, with its arrivals and ends."""
        self._note(WHOLE_STEP, self._loop_s)
        self._loop_s = (0.0, 0.0)
        self._steps += 1

    def collected(self, phase: str, facts: dict[str, int]) -> None:
        if phase == "start":
            self._began = _now()
        else:
            self._note(f"collection of generation {facts['generation']}", _since(self._began))

    def _note(self, name: str, took_s: tuple[float, float]) -> None:
        if not self._steps:
            return  # vLLM collects its own objects before it serves
        part = self.parts.setdefault(name, dict.fromkeys(("calls", "long", "processor_s", "wall_s"), 0.0))
        part["calls"] += 1
        part["long"] += took_s[1] > LONG_S
        part["wall_s"], part["processor_s"] = max(part["wall_s"], took_s[0]), max(part["processor_s"], took_s[1])


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
            write_text(Path(os.environ[VARIABLE]), json.dumps(dict(self._stops.parts)))


def timed_server(file: Path) -> tuple[list[str], dict[str, str]]:
    """Arguments, after the hook's, and environment of a server whose stops go to `file`."""
    arguments = ["--scheduler-cls", "tests.e2e.stops.TimedScheduler"]
    return arguments, {VARIABLE: str(file), "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.thread_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    now = _now()
    return now[0] - began[0], now[1] - began[1]
