import math

import pytest

from augserve.models.serving.settings import Slo
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.record.metrics import Window, meets_slo, pace_metrics, run_metrics
from augserve.pipeline.simulator.record.records import EngineTotals, SimulationResult, TurnRecord

SLO = Slo(ttft_s=1.0, tpot_s=0.1)


def turn(session="s", number=0, *, last=True, arrival=10.0, first=10.5, finish=11.0, output=6, cached=0, preempted=0):
    return TurnRecord(session, "math", number, last, arrival, 100, first, finish, output, cached, preempted)


def metrics(*turns, window=(10.0, 20.0), end=30.0):
    return run_metrics(SimulationResult(turns, EngineTotals(), end), Window(*window), SLO)


@pytest.mark.parametrize(
    ("facts", "met"),
    [
        ({"first": 11.0}, True),  # the very limit of TTFT
        ({"first": 11.01, "finish": 11.1}, False),
        ({"first": 10.5, "finish": 11.0, "output": 6}, True),  # TPOT 0.1
        ({"first": 10.5, "finish": 11.01, "output": 6}, False),
        ({"first": 10.5, "finish": 10.5, "output": 1}, True),  # one token has no TPOT
        ({"finish": None}, False),
        ({"first": None, "finish": None, "output": 0}, False),
    ],
)
def test_the_slo_of_a_turn(facts, met):
    assert meets_slo(turn(**facts), SLO) is met


def test_an_unfinished_turn_of_the_window_misses_the_slo():
    found = metrics(
        turn("before", arrival=9.9),
        turn("met", arrival=10.0, first=10.2, finish=10.3),
        turn("late", arrival=12.0, first=14.0, finish=14.5),
        turn("unfinished", arrival=19.9, first=20.0, finish=None),
        turn("starved", arrival=11.0, first=None, finish=None, output=0),
        turn("after", arrival=20.0),
    )
    assert found["turns"] == 4
    assert found["unfinished"] == 2
    assert found["effective_throughput"] == pytest.approx(0.1)
    assert found["attainment"] == pytest.approx(0.25)


def test_throughput_counts_turns_that_finish_in_the_window():
    found = metrics(turn("a", arrival=5.0, first=6.0, finish=10.0), turn("b"), turn("c", arrival=19.0, finish=21.0))
    assert found["throughput"] == pytest.approx(0.2)


def test_waits_include_turns_without_a_token():
    found = metrics(turn("a", first=10.1), turn("b", arrival=12.0, first=None, finish=None, output=0), end=30.0)
    assert found["longest_wait_s"] == pytest.approx(18.0)
    assert found["ttft_mean_s"] == pytest.approx((0.1 + 18.0) / 2)
    assert found["ttft_p50_s"] == pytest.approx((0.1 + 18.0) / 2)


def test_a_session_counts_where_it_ends_and_meets_the_slo_if_all_its_turns_do():
    found = metrics(
        turn("good", 0, last=False, arrival=2.0, first=2.1, finish=2.2),
        turn("good", 1, arrival=12.0, first=12.1, finish=12.2),
        turn("bad", 0, last=False, arrival=2.0, first=5.0, finish=5.2),
        turn("bad", 1, arrival=12.0, first=12.1, finish=12.2),
        turn("open", 0, last=False, arrival=12.0, first=12.1, finish=12.2),
    )
    assert found["session_effective_throughput"] == pytest.approx(0.1)


def test_prefix_hits_and_preemptions_are_summed_over_the_window():
    found = metrics(
        turn("a", cached=64, preempted=2), turn("b", cached=0, preempted=1), turn("c", arrival=1.0, cached=99)
    )
    assert found["prefix_hit_rate"] == pytest.approx(64 / 200)
    assert found["preemptions"] == 3


def test_a_window_without_turns_is_an_error():
    with pytest.raises(SimulationError, match="no turn arrived"):
        metrics(turn(arrival=1.0))


@pytest.mark.parametrize(("start", "end"), [(5.0, 5.0), (5.0, 4.0), (-1.0, 4.0), (0.0, math.nan), (0.0, math.inf)])
def test_an_empty_window_is_refused(start, end):
    with pytest.raises(SimulationError, match="window"):
        Window(start, end)


def test_pace_metrics_cover_finished_turns_only():
    found = pace_metrics(
        [
            turn("a", arrival=10.0, first=10.5, finish=11.0, output=6),  # TPOT 0.1, normalized 1/6
            turn("b", arrival=10.0, first=12.0, finish=12.0, output=1),  # no TPOT, normalized 2
            turn("c", finish=None),
        ]
    )
    assert found["tpot_mean_s"] == found["tpot_p99_s"] == pytest.approx(0.1)
    assert found["normalized_latency_mean_s"] == pytest.approx((1 / 6 + 2) / 2)
    assert pace_metrics([turn("c", finish=None)]) == {}
