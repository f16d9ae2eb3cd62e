"""Perfect forecasts, an upper bound on the gain of better models."""

from collections.abc import Sequence

from ...data.workload.model import Session
from ...data.workload.steady_state import nominal_pause_s
from ...runtime.prediction.forecaster import Forecaster
from ...runtime.sessions.live_turn import Forecast, LiveTurn


class Oracle(Forecaster):
    """Forecasts from the workload itself; request ids are "<session>/<turn>"."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = {session.session_id: session for root in sessions for session in root.tree()}

    def forecast(self, turns: Sequence[LiveTurn]) -> list[Forecast | None]:
        return [self._forecast(live) for live in turns]

    def _forecast(self, live: LiveTurn) -> Forecast:
        session_id, _, number = live.request.request_id.rpartition("/")
        turns = self._sessions[session_id].turns
        turn = int(number)
        return Forecast(
            output_tokens=float(turns[turn].output_tokens),
            remaining_turns=float(len(turns) - turn),
            pause_s=nominal_pause_s(turns[turn]),
        )
