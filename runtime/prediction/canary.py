"""A second bundle, the candidate, whose models forecast for a share of the sessions.

All turns wait in one queue and share one memory. So a candidate decides by what its models say of a turn: by its
forecast, and with it the turn's place in the order and what becomes of its context. Settings are the champion's.
"""

import hashlib
from collections.abc import Mapping
from itertools import islice

from ..bundle_role import CANDIDATE
from ..engine import Engine
from ..metrics import Metrics
from ..queueing.waiting_queue import WaitingQueue
from ..sessions.live_turn import LiveTurn
from .batching import Forecasting
from .forecaster import DROPPED, Forecaster

PART, LEARNING = "candidate", "candidate correction"
"""The guard's names of the candidate's predictions and of its corrections."""
MAX_SUB_AGENTS = 1 << 16
"""Sub-agents whose root session is remembered; beyond this number the oldest DROPPED are dropped."""


class Canary:
    """Chooses the candidate's sessions, and asks its forecaster for their turns."""

    def __init__(self, engine: Engine, queue: WaitingQueue, share: float) -> None:
        self._engine = engine
        self._queue = queue
        self._share = share
        self._key = b""
        self._forecasting: Forecasting | None = None
        self.forecaster = Forecaster()
        self._roots: dict[str, str] = {}  # the first session above each sub-agent, the oldest first

    def take(self, forecaster: Forecaster | None, version: str = "") -> None:
        """Let another candidate forecast from now on; None: no candidate. The version decides which sessions it has, so
        that they are the same in each engine and after a restart."""
        engine = self._engine
        self._key = hashlib.blake2b(version.encode(), digest_size=32).digest()
        self.forecaster = forecaster or Forecaster()
        self._forecasting = None
        if forecaster is not None:
            self._forecasting = Forecasting(forecaster, self._queue, engine.metrics, engine.clock)

    def predict(self, turns: list[LiveTurn]) -> list[LiveTurn]:
        """Predict the turns of the candidate's sessions. Returns those that the champion has to predict: all others,
        and those that the candidate has failed to predict. Never raises."""
        if self._forecasting is None:
            return turns
        chosen = [live for live in turns if self.has(live)]
        for live in chosen:
            live.bundle = CANDIDATE
        if chosen:
            self._engine.guard.attempt(PART, self._forecasting.predict, chosen)
        return [live for live in turns if live.forecast is None]

    def has(self, live: LiveTurn) -> bool:
        """Whether the turn's session is one of the candidate's. A sub-agent goes with its parent."""
        parent = live.hints.parent_session_id
        root = live.session_id if parent is None else self._roots.get(parent, parent)
        if parent is not None:
            self._roots[live.session_id] = root
            if len(self._roots) > MAX_SUB_AGENTS:
                for session_id in list(islice(self._roots, DROPPED)):
                    del self._roots[session_id]
        text = root.encode("utf-8", "surrogatepass")
        number = int.from_bytes(hashlib.blake2b(text, digest_size=8, key=self._key).digest())
        return number < self._share * 2**64


class CandidateReports:
    """The errors of a candidate's forecasts, as a forecaster reports them. Corrections and drift stay the champion's
    series."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def trained_coverage(self, coverage: Mapping[str, float]) -> None: ...

    def drift(self, feature: str, psi: float) -> None: ...

    def corrected(self, quantity: str, factor: float, coverage: float, width: float) -> None: ...

    def forecast_ratio(self, quantity: str, ratio: float) -> None:
        self._metrics.forecast_ratio(quantity, ratio, CANDIDATE)
