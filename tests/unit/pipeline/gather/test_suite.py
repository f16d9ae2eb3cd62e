import statistics
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augserve.pipeline.gather.plan import Draft, PlanError, ToolUse, TurnPlan
from augserve.pipeline.gather.suite import session_plans
from augserve.pipeline.gather.tasks import suite
from augserve.pipeline.gather.tools.box import tool_box

SUITE = suite()
MANY = session_plans(2000.0, 0.5, (0.4, 1.0), 1)


@given(kind=st.sampled_from(sorted(SUITE.kinds)), seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_every_draft_is_filled_in_and_ends_without_a_call(kind: str, seed: int) -> None:
    draft = SUITE.draft(kind, Random(seed))
    assert draft.turns[-1].tool_use is None
    for turn in draft.turns:
        assert turn.style in SUITE.styles
        assert "{" not in turn.instruction
        assert any(wording in turn.instruction for wording in SUITE.styles[turn.style])


def test_every_call_fits_the_schema_of_a_tool_that_exists() -> None:
    with tool_box(0.0, 1) as tools:
        for plan in MANY:
            for name in plan.draft.tools:
                assert name in tools
            for use in (turn.tool_use for turn in plan.draft.turns if turn.tool_use):
                assert set(use.arguments) == set(tools[use.tool].specification.parameters)


def test_the_suite_is_wide() -> None:
    assert {plan.kind for plan in MANY} == set(SUITE.kinds)
    assert {turn.style for plan in MANY for turn in plan.draft.turns} == set(SUITE.styles)
    openings = [plan.draft.turns[0].instruction for plan in MANY]
    assert len(set(openings)) > 0.7 * len(openings)
    assert {len(plan.draft.turns) for plan in MANY} >= {2, 3, 4, 5}


def test_the_same_seed_gives_the_same_plans_and_another_seed_others() -> None:
    assert session_plans(100.0, 0.5, (0.7,), 3) == session_plans(100.0, 0.5, (0.7,), 3)
    assert session_plans(100.0, 0.5, (0.7,), 3) != session_plans(100.0, 0.5, (0.7,), 4)


def test_a_longer_run_only_adds_sessions() -> None:
    short, long = session_plans(100.0, 0.5, (0.7,), 3), session_plans(200.0, 0.5, (0.7,), 3)
    assert long[: len(short)] == short
    assert len(long) > len(short)


def test_sessions_arrive_as_a_poisson_process() -> None:
    arrivals = [plan.arrival_s for plan in MANY]
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert statistics.mean(gaps) == pytest.approx(2.0, rel=0.1)
    assert statistics.stdev(gaps) / statistics.mean(gaps) == pytest.approx(1.0, abs=0.15)


def test_session_ids_are_unique() -> None:
    assert len({plan.session_id for plan in MANY}) == len(MANY)


@pytest.mark.parametrize(
    "turns",
    [
        (),
        (TurnPlan("a", "word", ToolUse("python", {"code": "1"})),),
        (TurnPlan("a", "word", None), TurnPlan("b", "word", None)),
    ],
)
def test_an_invalid_session_is_refused(turns: tuple[TurnPlan, ...]) -> None:
    with pytest.raises(PlanError):
        Draft("system", ("python",), turns)


def test_a_call_to_a_tool_not_offered_is_refused() -> None:
    turns = (TurnPlan("a", "word", ToolUse("speak", {})), TurnPlan("b", "word", None))
    with pytest.raises(PlanError, match="speak"):
        Draft("system", ("python",), turns)
