"""Forecasts of which one quantity comes from another source: what knowing it exactly, from a table, or not at all is
worth."""

import dataclasses
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from ...features.session_history import call_key
from ...runtime.prediction.forecaster import Forecaster
from ...runtime.residency.pins import UNKNOWN_PAUSE_S
from ...runtime.residency.worth import CONTINUING_TURNS
from ...runtime.sessions.live_turn import FALLBACK, Forecast, LiveTurn
from ...runtime.sessions.table import Pause

OBSERVED = 500
"""Latest outcomes of a tool that a table keeps."""
LEAST_OBSERVED = 5
"""With fewer outcomes of a tool, those of all tools count."""
INTERVAL = (0.1, 0.5, 0.9)


class Quantity(StrEnum):
    OUTPUT = "output"
    PAUSE = "pause"
    REMAINING = "remaining"


FIELDS: Mapping[Quantity, tuple[str, ...]] = {
    Quantity.OUTPUT: ("output_tokens", "output_interval"),
    Quantity.PAUSE: ("pause_s", "pause_interval"),
    Quantity.REMAINING: ("remaining_turns",),
}
"""The fields of a forecast that state a quantity."""


class Constant(Forecaster):
    """The same forecast for every turn: nothing is known."""

    FORECAST = dataclasses.replace(FALLBACK, remaining_turns=CONTINUING_TURNS, pause_s=UNKNOWN_PAUSE_S)

    def forecast(self, turns: Sequence[LiveTurn]) -> list[Forecast | None]:
        return [self.FORECAST] * len(turns)


class Table(Forecaster):
    """Quantiles of the latest outcomes after the same tool, learned online. Nothing is known of remaining turns."""

    def __init__(self) -> None:
        self._outputs: defaultdict[int | None, deque[float]] = defaultdict(lambda: deque(maxlen=OBSERVED))
        self._pauses: defaultdict[int | None, deque[float]] = defaultdict(lambda: deque(maxlen=OBSERVED))
        self._all_outputs: deque[float] = deque(maxlen=OBSERVED)
        self._all_pauses: deque[float] = deque(maxlen=OBSERVED)
        self._tools: dict[str, int | None] = {}  # of each session's last turn

    def forecast(self, turns: Sequence[LiveTurn]) -> list[Forecast | None]:
        return [self._forecast(live) for live in turns]

    def turn_ended(self, live: LiveTurn, reason: str) -> None:  # noqa: ARG002 - the simulator truncates nothing
        tool = self._tools[live.session_id] = tool_of(live)
        for outcomes in (self._outputs[tool], self._all_outputs):
            outcomes.append(float(live.request.num_output_tokens))

    def pause_ended(self, session_id: str, pause: Pause) -> None:
        for outcomes in (self._pauses[self._tools.get(session_id)], self._all_pauses):
            outcomes.append(pause.duration_s)

    def _forecast(self, live: LiveTurn) -> Forecast:
        tool, forecast = tool_of(live), Constant.FORECAST
        for quantity, own, every in (
            (Quantity.OUTPUT, self._outputs[tool], self._all_outputs),
            (Quantity.PAUSE, self._pauses[tool], self._all_pauses),
        ):
            outcomes = own if len(own) >= LEAST_OBSERVED else every
            if outcomes:
                low, median, high = np.quantile(outcomes, INTERVAL).tolist()
                stated = dict(zip(FIELDS[quantity], (median, (low, high)), strict=True))
                forecast = dataclasses.replace(forecast, **stated)
        return forecast


class Mixed(Forecaster):
    """The forecasts of `base`, with one quantity from another source."""

    def __init__(self, base: Forecaster, quantity: Quantity, source: Forecaster) -> None:
        self._base = base
        self._fields = FIELDS[quantity]
        self._source = source

    def forecast(self, turns: Sequence[LiveTurn]) -> list[Forecast | None]:
        mixed: list[Forecast | None] = []
        for whole, part in zip(self._base.forecast(turns), self._source.forecast(turns), strict=True):
            if whole is None or part is None:
                mixed.append(whole)
            else:
                mixed.append(dataclasses.replace(whole, **{name: getattr(part, name) for name in self._fields}))
        return mixed

    def turn_ended(self, live: LiveTurn, reason: str) -> None:
        self._base.turn_ended(live, reason)
        self._source.turn_ended(live, reason)

    def pause_ended(self, session_id: str, pause: Pause) -> None:
        self._base.pause_ended(session_id, pause)
        self._source.pause_ended(session_id, pause)

    def reset(self) -> None:
        self._base.reset()
        self._source.reset()


def tool_of(live: LiveTurn) -> int | None:
    """The tool whose result the turn brings, which is expected to be called again."""
    return call_key(live.hints.calls[-1].tool) if live.hints.calls else None
