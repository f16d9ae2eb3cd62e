from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.steering.tpot_slack import TpotSlack

TPOT_S = 0.1


def run(slack: TpotSlack, steps_s: Iterable[float]) -> None:
    for step_s in steps_s:
        slack.step_ended(step_s)


def test_a_new_decode_has_the_slack_of_one_token() -> None:
    slack = TpotSlack(TPOT_S)
    assert slack.tightest_s(["a"]) == pytest.approx(TPOT_S)
    run(slack, [0.02] * 10)
    assert slack.tightest_s(["a"]) == pytest.approx(10 * 0.08 + TPOT_S)
    assert slack.tightest_s(["a", "b"]) == pytest.approx(TPOT_S)


def test_without_decodes_no_slack_limits_a_step() -> None:
    slack = TpotSlack(TPOT_S)
    slack.tightest_s(["a"])
    assert slack.tightest_s([]) == float("inf")


def test_a_turn_that_returns_after_a_preemption_starts_anew() -> None:
    slack = TpotSlack(TPOT_S)
    slack.tightest_s(["a", "b"])
    run(slack, [0.02] * 10)
    slack.tightest_s(["b"])
    assert slack.tightest_s(["a", "b"]) == pytest.approx(TPOT_S)
    assert slack.tightest_s(["b"]) == pytest.approx(10 * 0.08 + TPOT_S)


@given(
    st.lists(st.tuples(st.floats(0.001, 0.5), st.sets(st.sampled_from("abcdef"), max_size=6)), min_size=1, max_size=60)
)
def test_the_slack_is_what_the_tokens_and_times_of_each_turn_leave(steps: list[tuple[float, set[str]]]) -> None:
    """Against a count of each turn's tokens and of the time since it began."""
    slack, now_s = TpotSlack(TPOT_S), 0.0
    began: dict[str, tuple[int, float]] = {}
    for number, (step_s, decodes) in enumerate(steps):
        began = {name: began.get(name, (number, now_s)) for name in decodes}
        left = [TPOT_S * (number - first) - (now_s - since_s) for first, since_s in began.values()]
        assert slack.tightest_s(decodes) == pytest.approx(TPOT_S + min(left) if left else float("inf"))
        slack.step_ended(step_s)
        now_s += step_s
