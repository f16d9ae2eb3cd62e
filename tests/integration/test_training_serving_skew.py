"""Training and serving must compute the same features for the same sessions."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from augserve.data.workload.mix import augmentation_sessions
from augserve.data.workload.model import Session
from augserve.features.past import PastTurn, vectorize
from augserve.features.tool_call import TOOL_CALL_FEATURES
from augserve.features.turn import TURN_FEATURES
from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.prepare.mix_turns import mix_turns
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import PolicyInputs, deployed_scheduler
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.runtime.prediction.forecaster import Forecaster
from augserve.runtime.sessions.live_turn import Forecast, LiveTurn

LINEAR = StepTime(0.005, 1e-5, 1e-5, 1e-8)
PROFILE = StepProfile(
    name="roomy",
    source="by hand",
    limits=EngineLimits(kv_tokens=1 << 19, max_model_len=16_384, max_num_seqs=256, max_num_batched_tokens=8192),
    tokens=(1, 8192),
    table_s=(0.005, 0.09),
    per_decode_s=1e-5,
    per_context_token_s=1e-8,
    linear=LINEAR,
)


class Onlooker(Forecaster):
    """Predicts nothing, and keeps the features that it was shown."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def forecast(self, turns: Sequence[LiveTurn]) -> list[Forecast | None]:
        for live in turns:
            assert live.features is not None
            assert live.pause_features is not None
            self.seen[live.request.request_id] = live.features.copy(), live.pause_features.copy()
        return [None] * len(turns)


def over_all_sessions(name: str) -> bool:
    """Whether a feature depends on other sessions, whose events come in another order here."""
    return name in OVER_ALL


OVER_ALL = {"recent_output_log", "recent_turn_log", "after_pair_output_log"} | {
    *("after_tool_output_log", "after_tool_output_high", "after_tool_spread"),
    *("after_tool_pause", "after_tool_pause_high"),
    *("tool_log_s", "tool_spread", "tool_high", "tool_count", "call_log_s", "call_spread", "call_count"),
    *("family_log_s", "all_log_s", "hierarchy_log_s", "hierarchy_spread", "hierarchy_high"),
}


@dataclass
class Diary:
    """Numbers the scheduler's arrivals and finishes in their order."""

    clock: VirtualClock
    arrivals: dict[str, tuple[int, float]] = field(default_factory=dict)  # by request, with the time
    finishes: dict[str, tuple[int, float]] = field(default_factory=dict)

    def watch(self, scheduler: Any) -> Any:
        add, update = scheduler.add_request, scheduler.update_from_output

        def add_request(request: Any) -> None:
            self.arrivals[request.request_id] = self._number(), request.arrival_time
            add(request)

        def update_from_output(scheduled: Any, output: Any) -> Any:
            outputs = update(scheduled, output)
            for client in outputs.values():
                for one in client.outputs:
                    if one.finish_reason is not None:
                        self.finishes[one.request_id] = self._number(), self.clock.now
            return outputs

        scheduler.add_request, scheduler.update_from_output = add_request, update_from_output
        return scheduler

    def past(self, turn: PastTurn) -> PastTurn:
        """The turn as simulated, with event numbers as times."""
        key, following = f"{turn.session_id}/{turn.facts.turn}", f"{turn.session_id}/{turn.facts.turn + 1}"
        arrival, (finish, finish_s) = self.arrivals[key][0], self.finishes[key]
        pause = None
        if turn.pause is not None:
            returned, arrival_s = self.arrivals[following]
            pause = dataclasses.replace(turn.pause, return_s=returned, pause_s=max(arrival_s - finish_s, 0.0))
        return dataclasses.replace(turn, arrival_s=arrival, finish_s=finish, pause=pause)

    def _number(self) -> int:
        return len(self.arrivals) + len(self.finishes)


@pytest.fixture(scope="module")
def ran() -> tuple[Sequence[Session], Onlooker, Diary]:
    sessions = augmentation_sessions(60, 4.0, seed=7)
    onlooker, clock = Onlooker(), VirtualClock()
    diary = Diary(clock)
    bench = PolicyInputs(PROFILE.limits, SchedulerSettings(step_time=LINEAR), None, sessions, clock)
    Simulation(diary.watch(deployed_scheduler(bench, onlooker)), PROFILE, clock, sessions).run()
    return sessions, onlooker, diary


def test_training_and_serving_compute_the_same_features(
    ran: tuple[Sequence[Session], Onlooker, Diary],
) -> None:
    """Both see the events in the same order, so every feature is the same."""
    sessions, onlooker, diary = ran
    turns = [diary.past(turn.past) for session in sessions for turn in mix_turns(session)]
    vectors = list(vectorize(turns))
    assert len(onlooker.seen) == len(vectors) == sum(len(session.turns) for session in sessions)
    for turn in vectors:
        live, live_pause = onlooker.seen[f"{turn.past.session_id}/{turn.past.facts.turn}"]
        np.testing.assert_allclose(live, turn.turn_features, rtol=1e-6)
        np.testing.assert_allclose(live_pause, turn.expected_call_features, rtol=1e-6)


def test_features_at_a_nominal_pace_equal_live_ones_within_a_session(
    ran: tuple[Sequence[Session], Onlooker, Diary],
) -> None:
    """Prepare does not run the engine; features that depend on no other session are the same nevertheless."""
    sessions, onlooker, _ = ran
    alike = np.array([not over_all_sessions(feature.name) for feature in TURN_FEATURES])
    alike_call = np.array([not over_all_sessions(feature.name) for feature in TOOL_CALL_FEATURES])
    tolerance = {"rtol": 1e-3, "atol": 1e-5}
    for turn in vectorize(turn.past for session in sessions for turn in mix_turns(session)):
        live, live_pause = onlooker.seen[f"{turn.past.session_id}/{turn.past.facts.turn}"]
        np.testing.assert_allclose(live[alike], turn.turn_features[alike], **tolerance)
        np.testing.assert_allclose(live_pause[alike_call], turn.expected_call_features[alike_call], **tolerance)
