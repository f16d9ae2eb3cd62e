import numpy as np
from vllm.sampling_params import SamplingParams

from augserve.models.predictor import Rows, TurnPredictions
from augserve.runtime.prediction import PredictorForecaster
from augserve.runtime.sessions import SessionTable
from augserve.runtime.turns import Forecast, LiveTurn, arrived
from augserve.runtime.vllm_compat import Request


class Known:
    """Answers p50 = number of the row; counts the calls."""

    def __init__(self, broken: int | None = None) -> None:
        self.batches: list[int] = []
        self.broken = broken

    def _answer(self, rows: Rows, scale: float) -> Rows:
        median = scale * np.arange(1, len(rows) + 1, dtype=np.float32)
        if self.broken is not None:
            median[self.broken] = np.nan
        return np.stack([median / 2, median, median * 2], axis=1)

    def turns(self, rows: Rows) -> TurnPredictions:
        self.batches.append(len(rows))
        lengths, remaining, tokens = (self._answer(rows, scale) for scale in (10, 1, 30))
        return TurnPredictions(lengths, remaining, tokens, np.full(len(rows), 0.5, np.float32))

    def tool_duration(self, rows: Rows) -> Rows:
        return self._answer(rows, 0.5)


def live(number: int) -> LiveTurn:
    request = Request(f"r{number}", [5] * 60, SamplingParams(max_tokens=9), None, arrival_time=1.0)
    return arrived(request, SessionTable(), 1.0)[0]


def test_all_arrivals_are_predicted_in_one_batch() -> None:
    predictor = Known()
    turns = [live(number) for number in range(3)]
    turns[1].features = None
    forecasts = PredictorForecaster(predictor).forecast(turns)
    assert forecasts == [Forecast(10.0, 1.0, 0.5), None, Forecast(20.0, 2.0, 1.0)]
    assert predictor.batches == [2]


def test_an_answer_that_is_no_number_is_none() -> None:
    forecasts = PredictorForecaster(Known(broken=0)).forecast([live(0), live(1)])
    assert forecasts == [None, Forecast(20.0, 2.0, 1.0)]


def test_nothing_to_predict_asks_nobody() -> None:
    predictor = Known()
    assert PredictorForecaster(predictor).forecast([]) == []
    assert predictor.batches == []
