"""The guess, by hand."""

import dataclasses

import pytest

from augserve.data.workload.mix import MIX
from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.models.serving.settings import StepTime
from augserve.pipeline.evaluate.capacity_guess import capacity_guesses, context_token_s, filling_rate_per_s
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile

TWO_TURNS = Session("s-0", "math", 0.0, (Turn(900, 100, (ToolCall("math", 8.0, 50),)), Turn(50, 50)))
LINEAR = StepTime(0.02, 1e-4, 2e-4, 1e-7)
ENGINE = StepProfile("small", "by hand", EngineLimits(16_384, 8192, 32, 1024), (1, 2048), (0.02, 0.2), 0.0, 0.0, LINEAR)


def test_a_context_occupies_the_cache_during_its_output_and_its_tool_call() -> None:
    assert context_token_s(TWO_TURNS) == pytest.approx(1000 * (100 * 0.02 + 8.0) + 1100 * 50 * 0.02)


def test_the_filling_rate_is_the_cache_over_the_token_seconds_of_a_session() -> None:
    held = context_token_s(TWO_TURNS)
    assert filling_rate_per_s([TWO_TURNS, TWO_TURNS], 22_200) == pytest.approx(22_200 / held)


def test_half_the_cache_serves_half_the_sessions() -> None:
    half = dataclasses.replace(ENGINE, limits=EngineLimits(8192, 8192, 32, 1024))
    found = capacity_guesses([(MIX, "whole"), (MIX, "half")], {"whole": ENGINE, "half": half}, None, seed=1)
    assert found[MIX, "whole"] == pytest.approx(2 * found[MIX, "half"])


def test_traces_without_a_split_are_refused() -> None:
    with pytest.raises(SimulationError, match="coding"):
        capacity_guesses([("coding", "small")], {"small": ENGINE}, None, seed=1)
