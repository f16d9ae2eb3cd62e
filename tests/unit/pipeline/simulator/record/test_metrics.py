import math

import numpy as np
import pytest

from augserve.models.serving.settings import Slo
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.record.metrics import metrics_of, pace_metrics, run_metrics
from augserve.pipeline.simulator.record.records import EngineTotals, EngineUse, SimulationResult, TurnRecord
from augserve.pipeline.simulator.record.samples import samples_of
from augserve.pipeline.simulator.record.turns import meets_slo
from augserve.pipeline.simulator.record.window import Window

SLO = Slo(ttft_s=1.0, tpot_s=0.1)


def turn(
    session="s", number=0, *, last=True, arrival=10.0, first=10.5, finish=11.0, output=6, cached=0, preempted=0, **more
):
    prompt = more.pop("prompt", 100)
    return TurnRecord(session, "math", number, last, arrival, prompt, first, finish, output, cached, preempted, **more)


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


def test_the_longest_wait_of_first_turns_leaves_out_later_turns_and_sub_agents():
    found = metrics(
        turn("s", 0, last=False, arrival=10.0, first=13.0, finish=13.5),
        turn("s", 1, arrival=14.0, first=19.0, finish=19.5),
        turn("child", 0, arrival=14.0, first=18.0, finish=18.5, parent_id="s"),
        turn("other", 1, arrival=15.0, first=15.5, finish=16.0, midway=True),
    )
    assert (found["longest_first_wait_s"], found["longest_wait_s"]) == (3.0, 5.0)
    assert "longest_first_wait_s" not in metrics(turn(arrival=5.0), turn("s", 1, arrival=14.0))


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


def test_steps_and_sessions_count_where_they_end():
    found = metrics(
        turn("a", 0, last=False, arrival=2.0, first=3.0, finish=9.0),
        turn("a", 1, last=False, arrival=9.5, first=9.6, finish=10.0),
        turn("a", 2, arrival=12.0, first=12.1, finish=13.0),
        turn("late", arrival=19.0, first=20.0, finish=21.0),
    )
    assert found["steps_per_minute"] == pytest.approx(2 / 10 * 60)
    assert found["sessions_per_hour"] == pytest.approx(1 / 10 * 3600)


def test_a_tree_is_one_session_that_ends_with_its_root():
    """The root waits from 11 to 15 for two sub-agents, which run from 11 to 13 and from 12 to 14."""
    found = metrics(
        turn("root", 0, last=False, arrival=10.0, first=10.2, finish=11.0),
        turn("one", arrival=11.0, first=11.5, finish=13.0, parent_id="root"),
        turn("two", arrival=12.0, first=13.5, finish=14.0, parent_id="root"),
        turn("root", 1, arrival=15.0, first=15.5, finish=16.0),
    )
    assert found["sessions_per_hour"] == pytest.approx(360)
    assert found["session_time_mean_s"] == found["session_time_p90_s"] == 6.0
    assert found["serving_time_mean_s"] == pytest.approx(1 + 3 + 1)  # all but the second without a turn
    assert found["steps_per_minute"] == pytest.approx(24)
    assert found["session_effective_throughput"] == 0.0  # sub-agent two was late


def test_serving_time_without_sub_agents_is_the_sum_of_ttft_and_decode_times():
    found = metrics(
        turn("a", 0, last=False, arrival=5.0, first=7.0, finish=8.5),
        turn("a", 1, arrival=11.0, first=11.5, finish=14.0),
    )
    assert found["session_time_mean_s"] == pytest.approx(9.0)
    assert found["serving_time_mean_s"] == pytest.approx(2.0 + 1.5 + 0.5 + 2.5)


def test_a_session_that_entered_midway_counts_as_ended_but_has_no_time():
    found = metrics(turn("a", midway=True), turn("b", arrival=12.0, first=12.5, finish=14.0))
    assert found["sessions_per_hour"] == pytest.approx(720)
    assert found["session_time_mean_s"] == pytest.approx(2.0)
    assert "session_time_mean_s" not in metrics(turn("a", midway=True))


def test_times_by_thirds_of_the_session_length():
    turns = [turn("one", finish=10.6)]
    turns += [turn("two", n, last=n == 1, arrival=10.0 + n, first=10.5 + n, finish=10.7 + n) for n in range(2)]
    turns += [turn("five", n, last=n == 4, arrival=10.0 + n, first=10.5 + n, finish=10.8 + n) for n in range(5)]
    result = SimulationResult(tuple(turns), EngineTotals(), 30.0)
    found = metrics_of([samples_of(result, Window(10.0, 20.0), SLO, bounds=(1, 3))])
    assert found["session_time_short_mean_s"] == pytest.approx(0.6)
    assert found["session_time_middle_mean_s"] == pytest.approx(1.7)
    assert found["session_time_long_mean_s"] == pytest.approx(4.8)
    assert found["serving_time_long_mean_s"] == pytest.approx(5 * 0.8)


def test_ttft_is_told_apart_by_the_length_of_the_prompt():
    found = metrics(
        turn("a", prompt=1999, first=10.1),
        turn("b", prompt=2000, first=10.3),
        turn("c", prompt=15_999, first=10.5),
        turn("d", prompt=64_000, first=19.0, finish=19.5),
    )
    assert found["ttft_below_2k_p50_s"] == pytest.approx(0.1)
    assert found["ttft_2k_to_16k_p50_s"] == pytest.approx(0.4)
    assert found["ttft_from_64k_p99_s"] == pytest.approx(9.0)
    assert "ttft_16k_to_64k_p50_s" not in found
    assert found["ttft_p90_s"] == pytest.approx(np.percentile([0.1, 0.3, 0.5, 9.0], 90))


def test_nine_turns_in_ten_reach_the_interactivity():
    tpot = [0.01 * number for number in range(1, 12)]
    turns = [turn(f"s{n}", first=10.5, finish=10.5 + 5 * pace) for n, pace in enumerate(tpot)]
    assert metrics(*turns)["interactivity_p90"] == pytest.approx(1 / 0.1)  # the tenth of eleven
    assert "interactivity_p90" not in metrics(turn(output=1))


def test_hits_are_compared_with_the_best_possible_ones_where_these_were_observed():
    turns = (turn("a", cached=16, best_cached_tokens=64), turn("b", arrival=12.0, cached=0, best_cached_tokens=16))
    result = SimulationResult(turns, EngineTotals(), 30.0)
    use = EngineUse(busy_s=8.0, recomputed_s={"a": 1.0, "b": 3.0, "elsewhere": 9.0})
    found = metrics_of([samples_of(result, Window(10.0, 20.0), SLO, engine_use=use)])
    assert found["prefix_hit_rate"] == pytest.approx(16 / 200)
    assert found["best_hit_rate"] == pytest.approx(80 / 200)
    assert found["recompute_share"] == pytest.approx(0.5)
    assert not {"best_hit_rate", "recompute_share"} & set(metrics(*turns))


def test_runs_are_pooled():
    def samples(*turns):
        return samples_of(SimulationResult(turns, EngineTotals(), 30.0), Window(10.0, 20.0), SLO)

    found = metrics_of(
        [
            samples(*(turn(f"s{n}", first=10.1 + n / 10, output=1, preempted=2 * n) for n in range(3))),
            samples(turn("a", first=14.0, finish=15.0, preempted=2)),
        ]
    )
    assert found["attainment"] == 3 / 4
    assert found["effective_throughput"] == pytest.approx((0.3 + 0) / 2)
    assert found["ttft_p50_s"] == pytest.approx(0.25)
    assert (found["turns"], found["preemptions"], found["longest_wait_s"]) == (4, 4, 4.0)
