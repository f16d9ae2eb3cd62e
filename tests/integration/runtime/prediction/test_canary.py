"""A candidate forecasts for a share of the sessions on vLLM's real scheduler; all others stay the champion's."""

from typing import Any

import pytest

from augserve.runtime.guard import STRIKES

from ..conftest import Constant, Engine, EngineMaker, TestedScheduler
from ..control.changes import changes, decides, parts, post

TURNS = 40
CANARY: dict[str, Any] = {"bundle": "/no/bundle", "candidate": "/no/candidate", "share": 0.4}


def forecasts(engine: Engine, numbers: range) -> list[tuple[str, float | None]]:
    """Add turns of a session each. Returns which bundle each belongs to, and its forecast of the output."""
    scheduler = engine.scheduler
    assert isinstance(scheduler, TestedScheduler)
    for number in numbers:
        engine.add(number, 60, 4, f"s{number}")
    lives = [scheduler.engine.turns[f"r{number}"] for number in numbers]
    engine.step()
    found = [(live.bundle, None if live.forecast is None else round(live.forecast.output_tokens)) for live in lives]
    engine.drain()
    return found


def value(engine: Engine, name: str, **labels: str) -> float:
    assert isinstance(engine.scheduler, TestedScheduler)
    return engine.scheduler.engine.metrics.value(name, **labels)


@pytest.fixture
def engine(make_engine: EngineMaker) -> Engine:
    return make_engine(deployment=CANARY, max_num_seqs=TURNS)


def test_a_candidate_forecasts_for_its_sessions_and_both_are_compared(engine: Engine) -> None:
    candidate = Constant()
    candidate.answer = (3.0, 5.0, 20.0)
    assert {bundle for bundle, _ in forecasts(engine, range(TURNS))} == {"champion"}
    post(engine, candidate=parts("test-2", candidate))
    found = forecasts(engine, range(TURNS, 3 * TURNS))
    assert set(found) == {("champion", 50), ("candidate", 5)}
    has = [bundle for bundle, _ in found].count("candidate")
    assert value(engine, "turns", bundle="candidate") == has
    assert value(engine, "turns", bundle="champion") == 3 * TURNS - has
    assert value(engine, "turns_in_slo") == value(engine, "ttft_seconds", le="+Inf") == 3 * TURNS
    assert value(engine, "candidate_info", version="test-2", share="0.4") == 1
    assert decides(engine, "test-1")


def test_forecast_errors_are_told_apart(engine: Engine) -> None:
    candidate = Constant()
    candidate.answer = (3.0, 4.0, 20.0)
    post(engine, candidate=parts("test-2", candidate))
    found = engine.scheduler
    assert isinstance(found, TestedScheduler)
    for number in range(TURNS):
        request = engine.add(number, 60, 4, f"s{number}")
        request.sampling_params.stop_token_ids = [7]  # type: ignore[union-attr]
        request.sampling_params.ignore_eos = True  # type: ignore[union-attr]
    engine.drain()
    exact = value(engine, "forecast_ratio", quantity="output length", bundle="candidate", le="+Inf")
    assert exact == value(engine, "turns", bundle="candidate") > 0
    assert value(engine, "forecast_ratio", quantity="output length", le="+Inf") == TURNS


def test_a_candidate_that_fails_goes_and_the_champion_predicts_its_turns(engine: Engine) -> None:
    candidate = Constant()
    candidate.broken = True
    post(engine, candidate=parts("test-2", candidate))
    for number in range(STRIKES):
        assert {forecast for _, forecast in forecasts(engine, range(number * TURNS, (number + 1) * TURNS))} == {50}
    found = forecasts(engine, range(STRIKES * TURNS, (STRIKES + 1) * TURNS))
    assert set(found) == {("champion", 50)}
    assert changes(engine, "withdrawn") == 1
    assert value(engine, "candidate_info") == value(engine, "suspended") == 0
    assert decides(engine, "test-1")
    candidate.broken = False
    post(engine, candidate=parts("test-2", candidate))
    assert {bundle for bundle, _ in forecasts(engine, range(200, 220))} == {"champion"}


def test_a_candidate_stays_over_modes_and_goes_when_it_becomes_the_champion(engine: Engine) -> None:
    post(engine, candidate=parts("test-2", Constant()))
    for mode in ("off", "active"):
        post(engine, mode=mode)
        engine.add(1000 + len(mode), 50, 2)
        engine.drain()
    assert {bundle for bundle, _ in forecasts(engine, range(TURNS))} == {"champion", "candidate"}
    post(engine, parts=parts("test-2", Constant()))
    assert {bundle for bundle, _ in forecasts(engine, range(TURNS, 2 * TURNS))} == {"champion"}
    assert decides(engine, "test-2")
    assert value(engine, "candidate_info") == 0
    engine.assert_nothing_is_left()


def test_a_candidate_goes_when_it_is_retired(engine: Engine) -> None:
    post(engine, candidate=parts("test-2", Constant()))
    forecasts(engine, range(TURNS))
    post(engine, retire="its folder is empty")
    assert {bundle for bundle, _ in forecasts(engine, range(TURNS, 2 * TURNS))} == {"champion"}
