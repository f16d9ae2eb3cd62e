"""How an operator resets the corrections."""

from augserve.runtime.prediction.forecaster import PredictorForecaster

from ..conftest import EngineMaker


def test_a_reset_of_the_prefix_cache_forgets_the_corrections(make_engine: EngineMaker) -> None:
    engine = make_engine()
    for number in range(40):
        engine.add(number, 100 + 20 * number, 5, "a session")
        engine.drain()
        engine.clock.now_s += 5.0  # predicted: 50
    forecaster = engine.scheduler.decisions.forecaster
    assert isinstance(forecaster, PredictorForecaster)
    assert forecaster.pause.observed == 39
    assert forecaster.pause.overall < 0.9
    engine.scheduler.reset_prefix_cache()
    assert forecaster.pause.observed == 0
    assert forecaster.pause.overall == 1.0
