from types import SimpleNamespace
from typing import cast

import pytest

from augserve.pipeline.simulator.information import Constant, Mixed, Quantity, Table
from augserve.runtime.prediction.forecaster import Forecaster
from augserve.runtime.sessions.live_turn import Forecast, LiveTurn
from augserve.runtime.sessions.table import Pause


def turn(tool: str | None, output: int = 0) -> LiveTurn:
    calls = () if tool is None else (SimpleNamespace(tool=tool),)
    request = SimpleNamespace(num_output_tokens=output)
    return cast("LiveTurn", SimpleNamespace(hints=SimpleNamespace(calls=calls), session_id="s", request=request))


def learned(**outputs: int) -> Table:
    """Each tool was seen six times, with one length of outputs and a pause of a tenth as many seconds."""
    table = Table()
    for tool, tokens in outputs.items():
        for _ in range(6):
            table.turn_ended(turn(tool, tokens), "stop")
            table.pause_ended("s", Pause(0, 0.0, tokens / 10, 1))
    return table


def test_a_table_states_the_quantiles_of_the_same_tool() -> None:
    (forecast,) = learned(shell=100, search=300).forecast([turn("search")])
    assert forecast is not None
    assert (forecast.output_tokens, forecast.output_interval) == (300.0, (300.0, 300.0))
    assert forecast.pause_s == pytest.approx(30.0)


def test_a_tool_that_was_not_seen_has_the_quantiles_of_all() -> None:
    (forecast,) = learned(shell=100, search=300).forecast([turn("unknown")])
    assert forecast is not None
    assert forecast.output_tokens == pytest.approx(200.0)


def test_a_table_that_has_seen_nothing_knows_nothing() -> None:
    assert Table().forecast([turn(None)]) == Constant().forecast([turn(None)])


class Fixed(Forecaster):
    def __init__(self, forecast: Forecast | None) -> None:
        self.answer = forecast

    def forecast(self, turns: object) -> list[Forecast | None]:
        return [self.answer]


BASE = Forecast(1.0, 2.0, 3.0, (0.5, 1.5), (2.5, 3.5))
OTHER = Forecast(10.0, 20.0, 30.0, None, (25.0, 35.0))


@pytest.mark.parametrize(
    ("quantity", "mixed"),
    [
        (Quantity.OUTPUT, Forecast(10.0, 2.0, 3.0, None, (2.5, 3.5))),
        (Quantity.PAUSE, Forecast(1.0, 2.0, 30.0, (0.5, 1.5), (25.0, 35.0))),
        (Quantity.REMAINING, Forecast(1.0, 20.0, 3.0, (0.5, 1.5), (2.5, 3.5))),
    ],
)
def test_one_quantity_comes_from_the_other_source_with_its_interval(quantity: Quantity, mixed: Forecast) -> None:
    assert Mixed(Fixed(BASE), quantity, Fixed(OTHER)).forecast([turn(None)]) == [mixed]


def test_a_turn_without_a_forecast_of_the_models_has_none() -> None:
    assert Mixed(Fixed(None), Quantity.OUTPUT, Fixed(OTHER)).forecast([turn(None)]) == [None]
