"""Training and serving must see a turn alike: the live scheduler's features against a replay of the same sessions."""

from collections.abc import Sequence

import numpy as np

from augserve.data.mix import augmentation_sessions
from augserve.features.replay import replay
from augserve.features.tool_call import TOOL_CALL_FEATURES
from augserve.features.turn import TURN_FEATURES
from augserve.models.settings import SchedulerSettings, StepTime
from augserve.pipeline.prepare import mix_turns
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import Bench, deployed_scheduler
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.runtime.turns import Forecast, LiveTurn

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


class Onlooker:
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
    """A feature that depends on what other sessions did before: the two orders of events differ there."""
    return name == "tool_log_s"


def test_the_live_scheduler_and_the_replay_give_a_turn_the_same_features() -> None:
    sessions = augmentation_sessions(60, 4.0, seed=7)
    onlooker, clock = Onlooker(), VirtualClock()
    bench = Bench(PROFILE.limits, SchedulerSettings(step_time=LINEAR), None, sessions, clock)
    Simulation(deployed_scheduler(bench, onlooker), PROFILE, clock, sessions).run()

    replayed = list(replay(turn for session in sessions for turn in mix_turns(session)))
    assert len(onlooker.seen) == len(replayed) == sum(len(session.turns) for session in sessions)
    alike = np.array([not over_all_sessions(feature.name) for feature in TURN_FEATURES])
    alike_call = np.array([not over_all_sessions(feature.name) for feature in TOOL_CALL_FEATURES])
    tolerance = {"rtol": 1e-3, "atol": 1e-5}
    for turn in replayed:
        live, live_pause = onlooker.seen[f"{turn.past.session_id}/{turn.past.facts.turn}"]
        np.testing.assert_allclose(live[alike], turn.turn_features[alike], **tolerance)
        np.testing.assert_allclose(live_pause[alike_call], turn.expected_call_features[alike_call], **tolerance)
