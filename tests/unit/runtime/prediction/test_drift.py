import numpy as np
import pytest

from augserve.features.feature import Feature
from augserve.features.tool_call import TOOL_CALL_FEATURES
from augserve.features.turn import TURN_FEATURES
from augserve.models.serving.drift import DriftReference, Histogram
from augserve.runtime.prediction.drift import ALARM_PSI, BATCH_ROWS, CALL_PREFIX, DriftMonitor, monitors

FEATURES = tuple(Feature(f"f{index}", "1", "a number") for index in range(20))
EDGES = np.array([-1.0, 0.0, 1.0], np.float32)
NORMAL = Histogram(EDGES, np.array([0.0, 0.1587, 0.3413, 0.3413, 0.1587]))


def monitor() -> tuple[DriftMonitor, dict[str, float]]:
    reported: dict[str, float] = {}
    return DriftMonitor("turns", FEATURES, [NORMAL] * len(FEATURES), reported.__setitem__), reported


def feed(watched: DriftMonitor, rows: np.ndarray) -> None:
    """Add the rows, a few at a time, then take the steps in which they are compared."""
    for start in range(0, len(rows), 16):
        watched.add(list(rows[start : start + 16]))
    for _ in range(len(FEATURES)):
        watched.add([])


def rows(shift: float, missing: bool = False) -> np.ndarray:
    drawn = np.random.default_rng(1).normal(shift, 1, (BATCH_ROWS, len(FEATURES))).astype(np.float32)
    if missing:
        drawn[:] = np.nan
    return drawn


def test_rows_like_the_training_rows_have_a_small_psi() -> None:
    watched, reported = monitor()
    feed(watched, rows(0))
    assert set(reported) == {feature.name for feature in FEATURES}
    assert max(reported.values()) < ALARM_PSI
    assert not watched.drifted


@pytest.mark.parametrize(("shift", "missing"), [(2.0, False), (0.0, True)])
def test_drifted_rows_have_a_large_psi_and_are_logged_once(
    shift: float, missing: bool, vllm_log: pytest.LogCaptureFixture
) -> None:
    watched, reported = monitor()
    feed(watched, rows(shift, missing))
    feed(watched, rows(shift, missing))
    assert min(reported.values()) > ALARM_PSI
    assert watched.drifted
    assert len([record for record in vllm_log.records if "drifted" in record.message]) == 1


def test_one_drifted_feature_is_reported_and_raises_no_alarm() -> None:
    watched, reported = monitor()
    drawn = rows(0)
    drawn[:, 3] += 5
    feed(watched, drawn)
    assert reported["f3"] > ALARM_PSI
    assert not watched.drifted


def test_too_few_rows_are_not_compared() -> None:
    watched, reported = monitor()
    feed(watched, rows(3)[: BATCH_ROWS // 2])
    assert reported == {}
    assert not watched.drifted


def test_a_reset_forgets_the_live_rows() -> None:
    watched, _ = monitor()
    feed(watched, rows(3))
    watched.reset()
    assert not watched.drifted


def test_features_of_turns_and_of_calls_have_separate_monitors(vllm_log: pytest.LogCaptureFixture) -> None:
    reported: dict[str, float] = {}
    widths = {"turns": len(TURN_FEATURES), "tool_calls": len(TOOL_CALL_FEATURES)}
    reference = DriftReference({name: (NORMAL,) * width for name, width in widths.items()}, {})
    turns, calls = monitors(reference, reported.__setitem__)
    drawn = np.random.default_rng(1)
    for watched, shift, width in ((turns, 0.0, len(TURN_FEATURES)), (calls, 3.0, len(TOOL_CALL_FEATURES))):
        watched.add(list(drawn.normal(shift, 1, (BATCH_ROWS, width)).astype(np.float32)))
        for _ in range(width):
            watched.add([])
    assert reported["turn"] < ALARM_PSI < reported[f"{CALL_PREFIX}turn"]
    assert len(reported) == len(TURN_FEATURES) + len(TOOL_CALL_FEATURES)
    assert calls.drifted
    assert not turns.drifted
    (warning,) = [record.getMessage() for record in vllm_log.records if "drifted" in record.message]
    assert "features of tool calls have drifted" in warning
