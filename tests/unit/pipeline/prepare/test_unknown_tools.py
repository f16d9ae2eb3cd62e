"""What the models say of a tool that nobody has seen, beside what they say of the same calls with their tool known."""

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from numpy.typing import NDArray

from augserve.data.importers.run import import_traces
from augserve.data.workload.mix import augmentation_sessions
from augserve.features.past import PastCall, PastPause, PastTurn, vectorize
from augserve.features.session_history import SessionHistory
from augserve.features.shared_history import SharedHistory
from augserve.features.tool_call import TOOL_CALL_FEATURES, ToolCallFacts, tool_call_features
from augserve.features.turn import TurnFacts
from augserve.models.learning.calibration import calibrate, calibrate_with_unknown_tools
from augserve.models.learning.cross_fit import learn
from augserve.models.learning.forest import FitSettings, labels, predict_margins
from augserve.models.learning.target_models import TargetModels
from augserve.models.learning.training_set import (
    UNKNOWN_TOOLS,
    TrainingSet,
    read_training_set,
    read_unknown_tools,
)
from augserve.models.serving.target import QUANTILES, TARGETS, TOOL_DURATION
from augserve.pipeline.prepare import run as prepare
from augserve.pipeline.prepare.arrivals import Arrivals
from augserve.pipeline.prepare.examples import unknown_tool_examples
from augserve.pipeline.prepare.mix_turns import mix_turns
from augserve.pipeline.prepare.spool import Spool
from augserve.pipeline.prepare.training_turns import TrainingTurn, read_training_turns
from augserve.pipeline.prepare.unknown_tools import renamed, with_new_names
from augserve.pipeline.train.trained import log_width

Rows = NDArray[np.float32]
NAMES = [feature.name for feature in TOOL_CALL_FEATURES]
EXPECTED = NAMES.index("expected")
FIT = FitSettings(30, 30, 30, 10, 0.2, 0.2, 5, 5, 10.0, 0.9, 0.8, 1.0, 7)
HISTORY_SHARE = 0.7  # of the sessions: seen before the ones that are asked about
REAL = Path(__file__).parents[5] / "shared" / "data" / "claude-code-swe" / "sessions.tar.xz"


def tables(turns: Sequence[TrainingTurn]) -> dict[str, TrainingSet]:
    """As `prepare` makes them."""
    with TemporaryDirectory() as scratch, Spool(Path(scratch)) as spool:
        arrivals = Arrivals(Path(scratch))
        arrivals.add(turns)
        prepare.add_examples(spool, arrivals, len(turns), 1)
        (out := Path(scratch, "out")).mkdir()
        spool.write(out, 0.15, 0.2)
        sets = {target.name: read_training_set(out / f"{target.name}.parquet", target) for target in TARGETS}
        unknown = read_unknown_tools(out)
    return sets if unknown is None else sets | {UNKNOWN_TOOLS: unknown}


def learned(turns: Sequence[TrainingTurn]) -> TargetModels:
    """As `train` learns them, with few trees."""
    found = tables(turns)
    return learn([found[TOOL_DURATION.name]], FIT, unknown=found[UNKNOWN_TOOLS])[0].models


def call_rows(turns: Sequence[PastTurn], asked: set[str]) -> Rows:
    """Vectors of the calls of the sessions `asked`: as each is made, and as it was expected at its turn's arrival."""
    found = [one for one in vectorize(turns) if one.past.session_id in asked and one.past.pause is not None]
    return np.stack([row for one in found for row in (*one.call_features, one.expected_call_features)])


def with_new_tools(turn: PastTurn, prefix: str) -> PastTurn:
    """The same turn; each of its calls is of a tool of its own that was never called before."""
    if turn.pause is None:
        return turn
    calls = tuple(
        dataclasses.replace(call, tool=f"{prefix}{turn.session_id}-{turn.facts.turn}") for call in turn.pause.calls
    )
    return dataclasses.replace(turn, pause=dataclasses.replace(turn.pause, calls=calls))


def both(turns: Sequence[TrainingTurn], prefix: str) -> tuple[Rows, Rows]:
    """Rows of the latest sessions' calls with their tools known, and the same with tools never seen."""
    order = list(dict.fromkeys(turn.past.session_id for turn in turns))
    asked = set(order[int(HISTORY_SHARE * len(order)) :])
    past = [turn.past for turn in turns]
    new = [with_new_tools(turn, prefix) if turn.session_id in asked else turn for turn in past]
    return call_rows(past, asked), call_rows(new, asked)


def assert_as_wide(models: TargetModels, known: Rows, unknown: Rows) -> None:
    """In the median, and call by call in more than three of five (nine of ten where it was calibrated)."""
    assert len(known) == len(unknown) > 50
    before, after = (log_width(models.predict(rows)) for rows in (known, unknown))
    assert np.median(after) >= np.median(before)
    assert np.mean(after >= before) > 0.6


def aimless_turns(sessions: int, seed: int) -> list[TrainingTurn]:
    """Tools in no order, half of them quick and sure, half of any duration: a last tool says nothing of the next."""
    draw = random.Random(seed)
    tools = {f"quick-{n}": (n / 2 - 3, 0.15) for n in range(6)} | {f"any-{n}": (0.0, 2.2) for n in range(6)}
    found = []
    for number in range(sessions):
        now_s, context = 5.0 * number, 200
        for turn in range(length := draw.randint(4, 9)):
            prompt, output = context + draw.randint(5, 80), draw.randint(5, 90)
            finish_s, pause = now_s + output * 0.02, None
            if turn + 1 < length:
                tool = draw.choice(sorted(tools))
                duration_s = float(np.exp(draw.gauss(*tools[tool])))
                pause = PastPause(finish_s + duration_s, duration_s, (PastCall(tool, duration_s, 1, 20, timed=True),))
            name, facts = f"{seed}-{number}", TurnFacts(prompt, turn, 256, 1.0, 1.0, False, 3)
            past = PastTurn(name, facts, now_s, finish_s, output, pause)
            found.append(TrainingTurn("aimless", past, None, name, False, pause is not None))
            now_s, context = finish_s if pause is None else pause.return_s, prompt + output
    return found


@pytest.fixture(scope="module")
def mix() -> list[TrainingTurn]:
    """Generated with another seed than the models learned from."""
    return [turn for session in augmentation_sessions(120, 0.02, 12345) for turn in mix_turns(session)]


@pytest.fixture(scope="module")
def mix_models() -> TargetModels:
    return learned([turn for session in augmentation_sessions(300, 0.1, 1) for turn in mix_turns(session)])


@pytest.fixture(scope="module")
def aimless_models() -> TargetModels:
    return learned(aimless_turns(250, 1))


@pytest.mark.parametrize("prefix", ["new-", "mcp__server__new-"])
@pytest.mark.parametrize("expected", [False, True])
def test_an_unknown_tool_has_at_least_as_wide_an_interval_as_a_known_one(
    mix: list[TrainingTurn], mix_models: TargetModels, prefix: str, expected: bool
) -> None:
    known, unknown = both(mix, prefix)
    kind = known[:, EXPECTED] == expected
    assert not np.isnan(unknown[1:, NAMES.index("hierarchy_log_s")]).any()
    assert np.isnan(unknown[unknown[:, EXPECTED] == 0, NAMES.index("tool_log_s")]).all()
    assert_as_wide(mix_models, known[kind], unknown[kind])


@pytest.mark.parametrize("expected", [False, True])
def test_so_it_has_where_a_known_tool_says_little(aimless_models: TargetModels, expected: bool) -> None:
    """Without renamed calls to learn from, half of the expected ones got a narrower interval."""
    known, unknown = both(aimless_turns(240, 99), "new-")
    kind = known[:, EXPECTED] == expected
    assert_as_wide(aimless_models, known[kind], unknown[kind])


@pytest.mark.skipif(not REAL.is_file(), reason="shared/data/claude-code-swe is not here")
def test_so_it_has_on_held_out_coding_sessions(tmp_path: Path) -> None:
    import_traces("claude-code", [REAL], tmp_path / "traces", "claude-code-swe")
    turns = read_training_turns([tmp_path / "traces"])
    found = tables(turns)
    models = learn([found[TOOL_DURATION.name]], FIT, unknown=found[UNKNOWN_TOOLS])[0].models
    known, unknown = found[TOOL_DURATION.name].part("test"), found[UNKNOWN_TOOLS].part("test")
    known = known.select(np.isin(known.sessions, unknown.sessions))
    np.testing.assert_array_equal(known.values, unknown.values)
    for expected in (False, True):
        kind = known.rows[:, EXPECTED] == expected
        assert_as_wide(models, known.rows[kind], unknown.rows[kind])


def with_one_example(turns: Sequence[TrainingTurn], tool: str, duration_s: float) -> list[TrainingTurn]:
    """The same turns, but one call, which is learned from as it is, was of `tool`."""
    at = next(index for index, turn in enumerate(turns) if turn.past.pause is not None and not renamed(turn))
    past = turns[at].past
    assert past.pause is not None
    calls = tuple(dataclasses.replace(call, tool=tool, duration_s=duration_s) for call in past.pause.calls)
    changed = dataclasses.replace(past, pause=dataclasses.replace(past.pause, calls=calls))
    return [*turns[:at], dataclasses.replace(turns[at], past=changed), *turns[at + 1 :]]


def next_calls(turns: Sequence[TrainingTurn], tools: Sequence[str]) -> Rows:
    """The vectors of a call of each tool in a new session, after all these turns."""
    shared, session = SharedHistory(), SessionHistory()
    for turn in turns:
        if turn.past.pause is not None:
            shared.calls_returned([call.returned() for call in turn.past.pause.calls], turn.past.pause.pause_s)
    session.turn_finished(220, 40)
    return np.stack([tool_call_features(ToolCallFacts(tool, 0, 1, 20, None, 1), session, shared) for tool in tools])


def test_a_tool_with_one_example_falls_back_and_drags_no_other_tool_along(aimless_models: TargetModels) -> None:
    """One of some 1,400 calls was of the tool, and a hundred times quicker than any other's usual one."""
    quick_s, others = 1e-4, [f"quick-{number}" for number in range(6)]
    before = aimless_turns(250, 1)
    once = with_one_example(before, "rare", quick_s)
    models = learned(once)
    rare, *known = next_calls(once, ["rare", *others])
    of_all = rare[NAMES.index("all_log_s")]
    assert rare[NAMES.index("tool_count")] == 1
    assert rare[NAMES.index("hierarchy_log_s")] == pytest.approx((np.log(quick_s) + 3 * of_all) / 4)
    predicted = models.predict(np.stack([rare, *known]))
    assert predicted[0, 1] > 10 * quick_s  # not learned by heart
    assert log_width(predicted)[0] >= np.median(log_width(predicted)[1:])
    same_calls = next_calls(before, others)
    moved = np.log(models.predict(same_calls)[:, 1] / aimless_models.predict(same_calls)[:, 1])
    assert np.abs(moved).max() < np.log(2)  # as much as trees differ that grew on other rows


def test_a_known_call_gets_no_part_of_an_unknown_tools_width() -> None:
    """The offsets of p10 and p90 of calls that are known, calibrated beside unknown tools and without them."""
    found = tables(aimless_turns(250, 1))
    known, unknown = found[TOOL_DURATION.name], found[UNKNOWN_TOOLS]
    margins = np.tile(np.quantile(labels(known), QUANTILES).astype(np.float32), (len(known) + len(unknown), 1))
    alone = calibrate(known, margins[: len(known)], 0)
    beside = calibrate_with_unknown_tools(known, unknown, margins, 0)
    seen_often = known.rows[:, NAMES.index("tool_count")] > 5
    for number in (0, 2):
        rows = known.rows[seen_often]
        moved = predict_margins(beside[number], rows) - predict_margins(alone[number], rows)
        assert np.abs(moved).max() < 0.1
    new = unknown.rows[unknown.rows[:, EXPECTED] == 0]
    widened = [predict_margins(trees[2], new) - predict_margins(trees[0], new) for trees in (beside, alone)]
    assert np.median(widened[0]) > np.median(widened[1]) - 1e-3


def test_an_unknown_tool_is_told_by_its_family_then_by_all(mix: list[TrainingTurn], mix_models: TargetModels) -> None:
    (_, unknown), (_, of_family) = both(mix, "new-"), both(mix, "mcp__server__new-")
    unknown, of_family = (rows[rows[:, EXPECTED] == 0] for rows in (unknown, of_family))
    hierarchy, general = NAMES.index("hierarchy_log_s"), NAMES.index("all_log_s")
    np.testing.assert_array_equal(unknown[:, hierarchy], unknown[:, general])
    family = of_family[:, NAMES.index("family_log_s")]
    assert np.isnan(of_family[:, NAMES.index("tool_log_s")]).all()
    told = ~np.isnan(family)
    assert told.any()
    between = np.sort(np.stack([family[told], of_family[told, general]]), axis=0)
    assert (between[0] - 1e-5 <= of_family[told, hierarchy]).all()
    assert (of_family[told, hierarchy] <= between[1] + 1e-5).all()
    assert np.isfinite(mix_models.predict(of_family)).all()


def test_the_calls_of_some_sessions_are_renamed_and_keep_their_family_and_all_else() -> None:
    turns = aimless_turns(40, 3)
    odd = [turn for turn in turns if renamed(turn)]
    assert 0 < len({turn.past.session_id for turn in odd}) < 20
    for before, after in zip(turns, map(with_new_names, turns), strict=True):
        if before.past.pause is None or not renamed(before):
            assert after == before
            continue
        assert after.past.pause is not None
        (was,), (now,) = before.past.pause.calls, after.past.pause.calls
        assert now.tool.startswith(f"{was.tool}?")
        assert dataclasses.replace(now, tool=was.tool) == was
    names = [call.tool for turn in map(with_new_names, odd) if turn.past.pause for call in turn.past.pause.calls]
    assert len(set(names)) == len(names)


def test_the_renamed_calls_are_rows_of_their_own_in_their_sessions_parts() -> None:
    turns = aimless_turns(60, 5)
    found = tables(turns)
    known, unknown = found[TOOL_DURATION.name], found[UNKNOWN_TOOLS]
    same = known.select(np.isin(known.sessions, np.unique(unknown.sessions)))
    for column in ("values", "parts", "sessions", "censored"):
        np.testing.assert_array_equal(getattr(same, column), getattr(unknown, column))
    made = unknown.rows[:, EXPECTED] == 0
    assert np.isnan(unknown.rows[made, NAMES.index("tool_log_s")]).all()
    assert (unknown.rows[~made, NAMES.index("tool_count")] <= 1).all()
    assert not np.isnan(same.rows[made, NAMES.index("tool_log_s")]).all()


def test_without_calls_there_are_no_such_rows(tmp_path: Path) -> None:
    silent = [
        dataclasses.replace(turn, past=dataclasses.replace(turn.past, pause=None)) for turn in aimless_turns(30, 5)
    ]
    arrivals = Arrivals(tmp_path)
    arrivals.add(silent)
    assert not list(unknown_tool_examples(arrivals, "aimless"))
