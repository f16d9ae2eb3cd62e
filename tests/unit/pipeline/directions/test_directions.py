"""Directions by hand: how sessions are measured, and what is called held, equal or reversed."""

import pytest

from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.pipeline.directions.params import DirectionsParams
from augserve.pipeline.directions.report import DIRECTIONS, Direction, policies, report, verdicts, write_report
from augserve.pipeline.directions.trial import UNCACHED, session_metrics
from augserve.pipeline.project.params import ParamsError
from augserve.pipeline.simulator.policies import POLICIES
from augserve.pipeline.simulator.record.records import EngineTotals, SimulationResult, TurnRecord

PARAMS = DirectionsParams("small", (16_384,), (1.0,), sessions=10, seeds=2, processes=1)
LOWER = Direction("a above b", "a", "b", "latency_mean_s")
HIGHER = Direction("a above b", "a", "b", "sessions_per_s", least_is_best=False)


def test_a_sessions_latency_is_without_its_calls_and_its_normalized_one_by_output_token() -> None:
    session = Session("s", "math", 1.0, (Turn(10, 4, ToolCall("math", 5.0, 2)), Turn(2, 6, None)))
    other = Session("t", "qa", 21.0, (Turn(10, 5, None),))
    turns = (
        TurnRecord("s", "math", 0, False, 1.0, 10, 2.0, 3.0, 4),
        TurnRecord("s", "math", 1, True, 8.0, 20, 9.0, 11.0, 6, cached_tokens=8),
        TurnRecord("t", "qa", 0, True, 21.0, 10, 22.0, 26.0, 5, preemptions=2),
    )
    found = session_metrics((session, other), SimulationResult(turns, EngineTotals(), 30.0))
    assert found["latency_mean_s"] == pytest.approx((5.0 + 5.0) / 2)
    assert found["normalized_latency_mean_s"] == pytest.approx((5.0 / 10 + 5.0 / 5) / 2)
    assert found["normalized_latency_p50_s"] == pytest.approx(0.75)
    assert found["sessions_per_s"] == pytest.approx(1 / 20.0)
    assert found["prefix_hit_rate"] == pytest.approx(8 / 40)
    assert found["preemptions"] == 2


def runs(a: tuple[float, ...], b: tuple[float, ...], metric: str) -> dict[str, list[dict[str, float]]]:
    return {"a": [{metric: value} for value in a], "b": [{metric: value} for value in b]}


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ((1.0, 2.0), (2.0, 3.0), "holds"),
        ((2.0, 3.0), (1.0, 2.0), "reversed"),
        ((1.0, 4.0), (2.0, 3.5), "equal"),  # not in every seed
        ((1.0, 1.0), (1.01, 1.01), "equal"),  # by less than 2 %
    ],
)
def test_a_direction_holds_where_every_seed_says_so(a: tuple[float, ...], b: tuple[float, ...], verdict: str) -> None:
    opposite = {"holds": "reversed", "reversed": "holds", "equal": "equal"}
    assert LOWER.verdict(runs(a, b, "latency_mean_s")) == verdict
    assert HIGHER.verdict(runs(a, b, "sessions_per_s")) == opposite[verdict]


def test_how_much_better_is_a_ratio_of_means() -> None:
    assert LOWER.change(runs((1.0, 3.0), (3.0, 5.0), "latency_mean_s")) == pytest.approx(1.0)
    assert HIGHER.change(runs((1.0, 3.0), (3.0, 5.0), "sessions_per_s")) == pytest.approx(-0.5)


METRICS = {
    "normalized_latency_mean_s": 0.1,
    "normalized_latency_p50_s": 0.1,
    "latency_mean_s": 5.0,
    "sessions_per_s": 2.0,
    "prefix_hit_rate": 0.5,
    "preemptions": 0.0,
}


def test_the_report_says_of_each_claim_how_often_it_holds(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found = {(16_384, 1.0): {policy: [dict(METRICS)] * 2 for policy in policies()}}
    for run in found[16_384, 1.0]["vllm"], found[16_384, 1.0][UNCACHED]:
        run[:] = [METRICS | {"normalized_latency_mean_s": 0.2}] * 2
    text = write_report(tmp_path, found, PARAMS)
    assert text == report(found, PARAMS) == (tmp_path / "directions.md").read_text()
    assert f"InferCept above stock vLLM ({UNCACHED}): of 6 comparisons 3 holds, 3 equal, 0 reversed" in text
    assert "MARS above InferCept (InferCept): of 3 comparisons 0 holds, 3 equal, 0 reversed" in text
    assert len(verdicts(found).rows) == len(DIRECTIONS)
    assert (tmp_path / "directions.json").exists()


@pytest.mark.parametrize(("firm_latency_s", "said"), [(2.0, True), (1.0, True), (0.5, False)])
def test_the_report_says_why_firm_mars_is_not_above_infercept_where_it_is_not(
    firm_latency_s: float, said: bool
) -> None:
    found = {(16_384, 1.0): {name: [dict(METRICS), dict(METRICS)] for name in policies()}}
    for run in found[16_384, 1.0]["mars-firm"]:
        run["latency_mean_s"] = firm_latency_s * METRICS["latency_mean_s"]
    assert ("docs/scheduling.md" in report(found, PARAMS)) is said


def test_every_policy_compared_is_known() -> None:
    assert set(policies()) - {UNCACHED} <= set(POLICIES)


@pytest.mark.parametrize(
    "change", [{"kv_tokens": (16,)}, {"loads": (0.0,)}, {"sessions": 0}, {"seeds": 0}, {"processes": 0}]
)
def test_a_parameter_out_of_range_is_named(change: dict[str, object]) -> None:
    values = {"profile": "p", "kv_tokens": (16_384,), "loads": (1.0,), "sessions": 10, "seeds": 1, "processes": 1}
    with pytest.raises(ParamsError, match=f"directions.{next(iter(change))}"):
        DirectionsParams(**(values | change))  # type: ignore[arg-type]
