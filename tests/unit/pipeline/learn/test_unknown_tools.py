"""What the models say of a tool that nobody has seen, on the rows of held-out sessions."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from augserve.data.mix import MIX, augmentation_sessions
from augserve.features.replay import PastTurn, replay
from augserve.features.tool_call import TOOL_CALL_FEATURES
from augserve.models.fitted import FittedModels
from augserve.models.fitting import FitSettings
from augserve.models.learning import learn
from augserve.models.target import TARGETS, TOOL_DURATION
from augserve.pipeline import prepare
from augserve.pipeline.mix_turns import mix_turns

LEARNED_SESSIONS = 150
SESSIONS = 60
HISTORY_SHARE = 0.7  # of the sessions: seen before the ones that are asked about
NAMES = [feature.name for feature in TOOL_CALL_FEATURES]


def call_rows(turns: list[PastTurn], asked: set[str]) -> NDArray[np.float32]:
    """Vectors of the calls, known at their turns' ends, that the sessions `asked` make."""
    rows = [row for found in replay(turns) if found.past.session_id in asked for row in found.call_features]
    return np.stack(rows)


def renamed(turn: PastTurn, prefix: str) -> PastTurn:
    """The same turn; each of its calls is of a tool of its own that was never called before."""
    if turn.pause is None:
        return turn
    calls = tuple(
        dataclasses.replace(call, tool=f"{prefix}{turn.session_id}-{turn.facts.turn}") for call in turn.pause.calls
    )
    return dataclasses.replace(turn, pause=dataclasses.replace(turn.pause, calls=calls))


@pytest.fixture(scope="module")
def sessions() -> tuple[list[PastTurn], set[str]]:
    """Turns of generated sessions with another seed than the models learned from, and the latest sessions' names."""
    made = augmentation_sessions(SESSIONS, 0.02, 12345)
    asked = {session.session_id for session in made[int(HISTORY_SHARE * SESSIONS) :]}
    return [turn.past for session in made for turn in mix_turns(session)], asked


@pytest.fixture(scope="module")
def models() -> FittedModels:
    """Learned as `train` learns them, of the mix alone and with few trees."""
    made = augmentation_sessions(LEARNED_SESSIONS, 0.1, 1)
    examples: prepare.Examples = {target.name: [] for target in TARGETS}
    prepare.add_source(examples, MIX, [turn for session in made for turn in mix_turns(session)])
    sets = prepare.split(examples, prepare.PrepareParams(LEARNED_SESSIONS, 0.1, 0.15, 0.2), {})
    data = next(data for data in sets if data.target is TOOL_DURATION)
    return learn([data], FitSettings(60, 60, 10, 0.15, 4, 2.0, 0.8, 0.8, 1.0, 7))[0].models


def log_width(models: FittedModels, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the 80 % interval."""
    quantiles = models.predict(rows)
    return np.log(quantiles[:, 2] / quantiles[:, 0])


@pytest.mark.parametrize("prefix", ["new-", "mcp__server__new-"])
def test_an_unknown_tool_has_at_least_as_wide_an_interval_as_a_known_one(
    sessions: tuple[list[PastTurn], set[str]], models: FittedModels, prefix: str
) -> None:
    turns, asked = sessions
    known = call_rows(turns, asked)
    unknown = call_rows([renamed(turn, prefix) if turn.session_id in asked else turn for turn in turns], asked)
    assert len(known) == len(unknown) > 50
    assert np.isnan(unknown[:, NAMES.index("tool_log_s")]).all()
    assert not np.isnan(unknown[:, NAMES.index("hierarchy_log_s")]).any()
    known_width, unknown_width = log_width(models, known), log_width(models, unknown)
    assert np.median(unknown_width) >= np.median(known_width)
    assert np.mean(unknown_width >= known_width) > 0.95


def test_an_unknown_tool_is_told_by_its_family_then_by_all(
    sessions: tuple[list[PastTurn], set[str]], models: FittedModels
) -> None:
    turns, asked = sessions
    unknown = call_rows([renamed(turn, "new-") if turn.session_id in asked else turn for turn in turns], asked)
    other = [renamed(turn, "mcp__server__new-") if turn.session_id in asked else turn for turn in turns]
    of_family = call_rows(other, asked)
    hierarchy, general = NAMES.index("hierarchy_log_s"), NAMES.index("all_log_s")
    np.testing.assert_array_equal(unknown[:, hierarchy], unknown[:, general])
    family = of_family[:, NAMES.index("family_log_s")]
    assert np.isnan(of_family[:, NAMES.index("tool_log_s")]).all()
    told = ~np.isnan(family)
    assert told.any()
    between = np.sort(np.stack([family[told], of_family[told, general]]), axis=0)
    assert (between[0] - 1e-5 <= of_family[told, hierarchy]).all()
    assert (of_family[told, hierarchy] <= between[1] + 1e-5).all()
    predicted = models.predict(of_family)
    assert np.isfinite(predicted).all()
