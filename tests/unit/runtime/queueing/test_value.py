import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from augserve.models.serving.settings import SchedulerSettings, Slo, StepTime, ValueWeights
from augserve.runtime.queueing.value import (
    CLASS_S,
    Column,
    EngineState,
    cached_future_turns,
    decode_step_s,
    keys,
    prefill_s,
    prompt_s,
    remaining_s,
    slack_s,
    stage_one_s,
)

STEP = StepTime(base_s=0.01, per_prefill_token_s=1e-4, per_decode_s=1e-3, per_context_token_s=1e-6)
ENGINE = EngineState(now_s=100.0, token_s=0.02, running_tokens=500.0, capacity_tokens=10_000.0)


def turns(*rows: dict[str, float]) -> NDArray[np.float64]:
    """Columns of turns; each row overrides values of a plain turn."""
    plain = {
        "waiting_since_s": 100.0,
        "deadline_s": 101.0,
        "tokens": 1000.0,
        "uncached_tokens": 1000.0,
        "new_tokens": 100.0,
        "output_tokens": 10.0,
        "future_turns": 0.0,
        "cached_future_turns": 0.0,
        "pause_s": 2.0,
        "past_tokens": 0.0,
        "past_output_tokens": 0.0,
        "tenant": 0.0,
        "adapter": 0.0,
        "lacks_grammar": 0.0,
        "admitted": 1.0,
    }
    return np.array([[{**plain, **row}[column.name.lower()] for row in rows] for column in Column])


def settings(weights: ValueWeights) -> SchedulerSettings:
    return SchedulerSettings(Slo(), weights, step_time=STEP)


def test_a_decode_step_costs_its_base_its_requests_and_their_context() -> None:
    assert decode_step_s(STEP, 5, 1000) == pytest.approx(0.01 + 0.005 + 0.001)


def test_without_a_price_of_attention_prefill_time_is_linear_in_the_uncached_tokens() -> None:
    assert prefill_s(STEP, np.array([1.0, 1000.0]), np.array([1.0, 5000.0])) == pytest.approx([0.0101, 0.11])


@given(st.integers(1, 5_000), st.integers(0, 5_000), st.integers(1, 999))
def test_chunks_of_a_prompt_add_up_to_its_prefill_time(uncached: int, cached: int, first: int) -> None:
    """Each chunk attends to all tokens before it, so the way in which a prompt is cut changes nothing."""
    step = dataclasses.replace(STEP, per_pair_s=1e-6)
    first = min(first, uncached)
    whole_s = prompt_s(step, float(uncached), float(cached + uncached))
    parts_s = prompt_s(step, float(first), float(cached + first))
    parts_s += prompt_s(step, float(uncached - first), float(cached + uncached))
    assert parts_s == pytest.approx(whole_s)


def test_stage_one_is_memory_times_time_by_hand() -> None:
    # prefill: 0.11 s x (1000 + 0)/2; decode: 10 x 0.02 s x (1000 + 11/2); no turn follows, so no pause
    last = 0.11 * 500 + 0.2 * 1005.5
    # then a pause: preserve 2 s x 1010 tokens, or discard (0.01 + 0.101) s x (1010 + 500)
    discarded = 0.111 * 1510
    preserved = 0.01 * 1010
    half_cached = 0.06 * 750 + 0.2 * 1005.5
    columns = turns({}, {"future_turns": 3}, {"future_turns": 3, "pause_s": 0.01}, {"uncached_tokens": 500})
    assert stage_one_s(columns, ENGINE, STEP) * 10_000 == pytest.approx(
        [last, last + discarded, last + preserved, half_cached]
    )


def test_future_turns_are_as_long_as_this_one() -> None:
    assert remaining_s(turns({}, {"future_turns": 4}), STEP) == pytest.approx([0, 4 * (0.02 + 0.01)])


def test_slack_is_the_time_until_the_prefill_must_start() -> None:
    columns = turns({}, {"deadline_s": np.inf})
    assert slack_s(columns, ENGINE, np.array([0.11, 0.11])) == pytest.approx([0.89, 0.0])


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"uncached": 2.0}, 2 * 0.11),
        ({"output": 2.0}, 2 * 10 * (1e-3 + 1000 * 1e-6)),
        ({"remaining": 2.0}, 2 * 4 * 0.03),
        ({"waiting": 2.0}, -2 * 0.3),
        ({"slack": 2.0}, 2 * (0.7 - 0.11)),
        ({"attained": 2.0}, 2 * (500 * 1e-4 + 300 * 0.02)),
        ({"tenant": 2.0}, 2 * 0.7),
        ({"stage_one": 2.0}, 2 * (0.11 * 500 + 0.2 * 1005.5 + 0.111 * 1510) / 10_000),
    ],
)
def test_each_weight_weighs_its_term(weights: dict[str, float], expected: float) -> None:
    facts = {"past_tokens": 800, "past_output_tokens": 300, "tenant": 2}
    columns = turns({"future_turns": 4, "waiting_since_s": 99.7, "deadline_s": 100.7, **facts})
    load = dataclasses.replace(ENGINE, tenants_s=np.array([0.1, 0.3, 0.7]))
    zero = dict.fromkeys(("stage_one", "uncached", "output", "future", "remaining", "waiting", "slack", "tenant"), 0.0)
    assert keys(columns, load, settings(ValueWeights(**{**zero, **weights}))) == pytest.approx([expected])


@pytest.mark.parametrize(("pause_s", "expected"), [(0.0, 4.0), (2.0, 4 / np.e), (1e9, 0.0)])
def test_a_longer_pause_leaves_fewer_future_turns_cached(pause_s: float, expected: float) -> None:
    assert cached_future_turns(4.0, pause_s, decay_s=2.0) == pytest.approx(expected)


def test_cached_future_turns_share_the_cost_of_the_prompt_but_not_of_the_decode() -> None:
    columns = turns({}, {"cached_future_turns": 4})
    weights = ValueWeights(stage_one=0, uncached=1, output=1, future=0.5)
    decode = 10 * 0.002
    expected = [0.11 + decode, 0.11 / 3 + decode]
    assert keys(columns, ENGINE, settings(weights)) == pytest.approx(expected)


def test_a_long_prompt_that_many_turns_reuse_goes_before_a_shorter_one_that_none_reuses() -> None:
    columns = turns({"uncached_tokens": 500}, {"tokens": 2000, "uncached_tokens": 2000, "cached_future_turns": 6})
    assert np.argmin(keys(columns, ENGINE, settings(ValueWeights()))) == 1
    assert np.argmin(keys(columns, ENGINE, settings(ValueWeights(future=0)))) == 0


def test_turns_that_can_meet_their_deadline_go_before_late_ones() -> None:
    columns = turns(
        {"deadline_s": 100.05},  # its prefill takes 0.11 s
        {"deadline_s": 100.2},
        {"waiting_since_s": 39.0, "deadline_s": 40.0},
        {"deadline_s": np.inf, "uncached_tokens": 1},
    )
    ranked = np.argsort(keys(columns, ENGINE, settings(ValueWeights()))).tolist()
    assert ranked[:2] == [3, 1]
    assert set(ranked[2:]) == {0, 2}


row = st.fixed_dictionaries(
    {"uncached_tokens": st.integers(1, 1000), "deadline_s": st.floats(99, 102), "output_tokens": st.floats(1, 1e4)}
)


@given(st.lists(row, min_size=1, max_size=30))
def test_a_weight_on_uncached_alone_is_the_rule_uncached_first(rows: list[dict[str, float]]) -> None:
    columns = turns(*rows)
    uncached = columns[Column.UNCACHED_TOKENS]
    late = ENGINE.now_s + prefill_s(STEP, uncached, uncached) > columns[Column.DEADLINE_S]
    weights = ValueWeights(stage_one=0, uncached=1, output=0, future=0, remaining=0, waiting=0, slack=0)
    ranked = np.argsort(keys(columns, ENGINE, settings(weights)), kind="stable")
    assert ranked.tolist() == np.lexsort((uncached, late)).tolist()


@given(st.floats(0, 1e6), st.floats(0, 1e12))
def test_no_value_leaves_its_class(weight: float, output_tokens: float) -> None:
    columns = turns({"output_tokens": output_tokens}, {"deadline_s": 99.0})
    weights = ValueWeights(stage_one=weight, uncached=weight, output=weight, remaining=weight, waiting=0, slack=weight)
    in_time, late = keys(columns, ENGINE, settings(weights))
    assert -CLASS_S < in_time < late


def test_a_turn_of_unknown_value_is_the_last_of_its_class() -> None:
    rows = ({"tokens": np.nan}, {"output_tokens": 1e6}, {"tokens": np.nan, "deadline_s": 0.0}, {"deadline_s": 0.0})
    ranked = keys(turns(*rows), ENGINE, settings(ValueWeights()))
    assert np.argsort(ranked).tolist() == [1, 0, 3, 2]
