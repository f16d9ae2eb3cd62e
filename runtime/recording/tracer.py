"""Passes turns, tool calls and steps to the recorder. Without a recorder it only measures step times."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ...data.tables.files import TraceError
from ...data.tables.pseudonyms import KEY_BYTES, KEY_FILE, Pseudonyms
from ...data.tables.schema import StepRow
from ..deployment import Deployment
from ..sessions.live_turn import LiveTurn
from ..sessions.table import Pause
from .recorder import Limits, Recorder
from .rows import Origin, pause_rows, turn_row
from .steps import StepLog

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput

logger = logging.getLogger(f"vllm.{__name__}")

DAY_S = 86_400.0
ID_BYTES = 40
"""Memory of a token id in a list: the reference and the number."""


class Tracer:
    def __init__(self, recorder: Recorder | None, origin: Origin, text: bool = False) -> None:
        """`text`: whether token ids are recorded."""
        self._recorder = recorder
        self._origin = origin
        self._text = text
        self._steps = StepLog()

    @classmethod
    def of(
        cls, deployment: Deployment, version: str, model: str | None, engine: int, dropped: Callable[[int], None]
    ) -> Self:
        """The tracer that the deployment asks for; `dropped` receives the number of lost rows."""
        recorder = None
        if deployment.traces is not None:
            limits = Limits(total_bytes=deployment.traces_max_bytes, total_age_s=deployment.traces_max_days * DAY_S)
            recorder = Recorder(deployment.traces, dropped, limits)
        start = f"{engine}-{os.urandom(4).hex()}"
        origin = Origin(deployment.source, version, model, _names(deployment.traces), start)
        return cls(recorder, origin, deployment.traces_text)

    def decided_by(self, version: str) -> None:
        """Turns that end from now on bear this version."""
        self._origin = replace(self._origin, version=version)

    def pause_ended(self, live: LiveTurn, pause: Pause) -> None:
        if self._recorder is not None:
            for row in pause_rows(live, pause, self._origin):
                self._recorder.add("tool_calls", row)

    def turn_ended(self, live: LiveTurn, now_s: float, reason: str) -> None:
        if self._recorder is not None:
            row = turn_row(live, self._origin, now_s, reason, self._text)
            self._recorder.add("turns", row, ID_BYTES * live.request.num_tokens if self._text else 0)

    def step_scheduled(self, output: "SchedulerOutput", step: StepRow) -> None:
        self._steps.scheduled(output, step)

    def step_ended(self, output: "SchedulerOutput", now_s: float) -> StepRow | None:
        """The step with its engine time; None if `output` was not noted by `step_scheduled`."""
        step = self._steps.finished(output, now_s)
        if step is not None and self._recorder is not None:
            self._recorder.add(
                "steps", {"source": self._origin.source, "engine": self._origin.engine, **step._asdict()}
            )
        return step

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()


def _names(folder: Path | None) -> Pseudonyms:
    """The folder's names; those of this process alone without a folder, or while its key cannot be kept."""
    if folder is not None:
        try:
            return Pseudonyms.kept_in(folder)
        except (OSError, TraceError) as error:
            logger.warning(
                "augserve: cannot use the key %s (%s); until the next start sessions have names of their own",
                folder / KEY_FILE,
                error,
            )
    return Pseudonyms(os.urandom(KEY_BYTES))
