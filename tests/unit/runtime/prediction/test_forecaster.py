import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from vllm.sampling_params import SamplingParams

from augserve.features.tool_call import TOOL_CALL_FEATURES
from augserve.features.turn import TURN_FEATURES
from augserve.models.serving.drift import Histogram
from augserve.models.serving.predictor import Rows, TurnPredictions
from augserve.models.serving.target import OUTPUT_LENGTH
from augserve.models.serving.tool_tables import ToolTable, ToolTables
from augserve.runtime.hints.hints import MAX_NAME, CallHint, Hints
from augserve.runtime.prediction.drift import BATCH_ROWS, DRIFTED_WIDTH, DriftMonitor
from augserve.runtime.prediction.forecaster import Forecaster, PredictorForecaster
from augserve.runtime.prediction.recognition import FEW
from augserve.runtime.sessions.live_turn import Forecast, LiveTurn, note_arrival, read_hints
from augserve.runtime.sessions.table import Pause, SessionTable
from augserve.runtime.vllm_compat import Request


class Numbering:
    """A predictor whose p50 is the number of the row; it records its batches."""

    tables = ToolTables()

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


FIRST = Forecast(10.0, 1.0, 0.5, (5.0, 20.0), (0.25, 1.0))
SECOND = Forecast(20.0, 2.0, 1.0, (10.0, 40.0), (0.5, 2.0))


def live(number: int) -> LiveTurn:
    request = Request(f"r{number}", [5] * 60, SamplingParams(max_tokens=9), None, arrival_time=1.0)
    return note_arrival(request, read_hints(request), SessionTable(), 1.0)[0]


def test_the_base_predicts_nothing_and_learns_nothing() -> None:
    forecaster, turn = Forecaster(), live(1)
    assert forecaster.forecast([turn, turn]) == [None, None]
    forecaster.turn_ended(turn, "stop")
    forecaster.pause_ended(turn.session_id, pause_after(0, 1.0))
    forecaster.reset()


def test_all_arrivals_are_predicted_in_one_batch() -> None:
    predictor = Numbering()
    turns = [live(number) for number in range(3)]
    turns[1].features = None
    forecasts = PredictorForecaster(predictor).forecast(turns)
    assert forecasts == [FIRST, None, SECOND]
    assert predictor.batches == [2]


def test_an_answer_that_is_not_finite_gives_no_forecast_and_is_logged_once(vllm_log: pytest.LogCaptureFixture) -> None:
    forecaster = PredictorForecaster(Numbering(broken=0))
    for _ in range(3):
        assert forecaster.forecast([live(0), live(1)]) == [None, SECOND]
    (warning,) = [record.getMessage() for record in vllm_log.records]
    assert "1 of 2 turns" in warning
    assert "\n" not in warning


def test_without_turns_the_predictor_is_not_called() -> None:
    predictor = Numbering()
    assert PredictorForecaster(predictor).forecast([]) == []
    assert predictor.batches == []


def pause_after(turn: int, duration_s: float) -> Pause:
    return Pause(turn, 0.0, duration_s, 100)


def finish(turn: LiveTurn, tokens: int) -> None:
    turn.request.append_output_token_ids([7] * tokens)


def test_outcomes_correct_later_predictions() -> None:
    forecaster = PredictorForecaster(Numbering())
    for number in range(200):
        turn = live(number)
        forecaster.forecast([turn])
        finish(turn, 20)
        forecaster.turn_ended(turn, "stop")
        forecaster.pause_ended(turn.session_id, pause_after(turn.turn, 0.25))
    (forecast,) = forecaster.forecast([live(1000)])
    assert forecast is not None
    assert 15 < forecast.output_tokens <= 20
    assert 0.25 <= forecast.pause_s < 0.35
    assert forecast.remaining_turns == 1.0
    forecaster.reset()
    assert forecaster.forecast([live(1001)]) == [FIRST]


def test_a_truncated_output_is_not_learned_from() -> None:
    forecaster = PredictorForecaster(Numbering())
    for reason in ("length", "abort"):
        turn = live(1)
        forecaster.forecast([turn])
        finish(turn, 9)
        forecaster.turn_ended(turn, reason)
    assert forecaster.output.observed == 0


def test_outcomes_of_unpredicted_turns_are_ignored() -> None:
    forecaster = PredictorForecaster(Numbering())
    forecaster.turn_ended(live(1), "stop")
    forecaster.pause_ended("nobody", pause_after(0, 1.0))
    assert forecaster.output.observed == forecaster.pause.observed == 0


def test_drifted_features_widen_their_intervals() -> None:
    elsewhere = Histogram(np.array([1e9], np.float32), np.array([0.0, 0.0, 1.0]))
    watched = DriftMonitor("turns", TURN_FEATURES, [elsewhere] * len(TURN_FEATURES), lambda name, psi: None)
    forecaster = PredictorForecaster(Numbering(), watched)
    turn = live(1)
    for _ in range(BATCH_ROWS + len(TURN_FEATURES)):
        (forecast,) = forecaster.forecast([turn])
    assert forecast is not None
    assert forecast.output_interval == (10 * 0.5**DRIFTED_WIDTH, 10 * 2**DRIFTED_WIDTH)
    assert forecast.output_tokens == 10.0
    assert forecast.pause_interval == FIRST.pause_interval  # predicted from other features


def test_drifted_call_features_widen_the_intervals_of_pauses() -> None:
    elsewhere = Histogram(np.array([1e9], np.float32), np.array([0.0, 0.0, 1.0]))
    width = len(TOOL_CALL_FEATURES)
    watched = DriftMonitor("tool calls", TOOL_CALL_FEATURES, [elsewhere] * width, lambda name, psi: None)
    forecaster = PredictorForecaster(Numbering(), None, watched)
    for _ in range(BATCH_ROWS + width):
        (forecast,) = forecaster.forecast([live(1)])
    assert forecast is not None
    assert forecast.pause_interval == (0.5 * 0.5**DRIFTED_WIDTH, 0.5 * 2**DRIFTED_WIDTH)
    assert forecast.output_interval == FIRST.output_interval
    forecaster.reset()
    assert forecaster.forecast([live(1)]) == [FIRST]


def test_awaited_outcomes_are_bounded_and_give_the_garbage_collector_nothing_to_visit() -> None:
    forecaster, turn, count = PredictorForecaster(Numbering()), live(1), 2000
    forecaster.forecast([turn])
    gc.collect()
    tracked = len(gc.get_objects())
    tracemalloc.start()
    for number in range(count):
        hints = Hints(calls=(CallHint("z" * MAX_NAME),))
        forecaster.forecast([replace(turn, session_id=f"{number:032x}", hints=hints)])
    gc.collect()  # garbage of the process, at whatever moment, is not what outcomes take
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(gc.get_objects()) - tracked < count / 2  # the process's threads and libraries make some
    assert taken / count < 400
    forecaster.pause_ended(f"{count - 1:032x}", pause_after(turn.turn, 2.0))
    assert forecaster.pause.observed == 1


def test_the_outcome_of_an_earlier_turn_is_not_taken_for_the_last_one_s() -> None:
    forecaster, turn = PredictorForecaster(Numbering()), live(1)
    forecaster.forecast([replace(turn, turn=1)])
    forecaster.pause_ended(turn.session_id, pause_after(0, 2.0))
    assert forecaster.pause.observed == 0
    forecaster.pause_ended(turn.session_id, pause_after(1, 2.0))
    assert forecaster.pause.observed == 1


def test_forecasts_follow_the_tables_of_the_set_that_the_turns_resemble() -> None:
    """Outputs are as the table says, a tenth of what the forest says."""
    key = bytes(16)
    logs = tuple(np.log([0.8, 1.0, 1.2]).tolist())
    table = ToolTable((0.0, 0.0, 0.0), {ToolTables(key).hashed(None): logs})
    predictor = Numbering()
    predictor.tables = ToolTables(key, {name: {OUTPUT_LENGTH.name: table} for name in ("here", "twin")})
    forecaster = PredictorForecaster(predictor)
    assert forecaster.forecast([live(0)]) == [FIRST]
    for number in range(FEW):
        turn = live(number)
        forecaster.forecast([turn])
        finish(turn, 1)
        forecaster.turn_ended(turn, "stop")
    forecaster.output.reset()
    (forecast,) = forecaster.forecast([live(1000)])
    assert forecast is not None
    assert forecast.output_tokens == pytest.approx(1.0)
    assert forecast.output_interval == pytest.approx((0.8, 1.2))
    assert forecast.pause_s == FIRST.pause_s
    forecaster.reset()
    assert forecaster.forecast([live(1001)]) == [FIRST]
