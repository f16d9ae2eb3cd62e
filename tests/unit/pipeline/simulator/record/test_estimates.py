import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.pipeline.simulator.record.estimates import estimates, unit_weights, weighted_quantiles
from augserve.pipeline.simulator.record.samples import Samples

VALUES = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 4)), min_size=1, max_size=30)


@given(VALUES, st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_weighted_quantile_is_that_of_the_repeated_values(pairs, share):
    values, weights = (np.array(of, float) for of in zip(*pairs, strict=True))
    (found,) = weighted_quantiles(values, weights[None], (share,))
    repeated = np.repeat(values, weights.astype(int))
    if len(repeated):
        assert found[0] == pytest.approx(np.quantile(repeated, share), rel=1e-5, abs=1e-5)
    else:
        assert np.isnan(found[0])


def closed(present_s, steps, **changes):
    names = [f"s{number}" for number in range(len(steps))]
    zeros = [0] * len(steps)
    lists = {"kinds": ["made"] * len(steps), "prompt_tokens": zeros, "cached_tokens": zeros, "recomputed_s": zeros}
    return Samples(10.0, True, sessions=names, present_s=present_s, steps=steps, **lists | changes)


def test_rates_of_a_closed_loop_are_per_session_under_way():
    """Two agents: one session of 10 s, and two of 5 s each."""
    run = closed([10.0, 5.0, 5.0], [4, 6, 2])
    (rate,) = estimates([run], unit_weights([run]))["steps_per_minute"]
    assert rate == pytest.approx(12 / 10 * 60)
    drawn = np.array([[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    rates = estimates([run], [drawn])["steps_per_minute"]
    assert rates == pytest.approx([6 / 5 * 2 * 60, 4 / 10 * 2 * 60, 16 / 20 * 2 * 60])


def test_rates_of_an_open_loop_are_per_second_of_the_window():
    run = Samples(10.0, False, sessions=["a", "b"], present_s=[10.0, 1.0], steps=[4, 6],
                  prompt_tokens=[0, 0], cached_tokens=[0, 0], recomputed_s=[0, 0])  # fmt: skip
    assert estimates([run], [np.array([[2.0, 0.0]])])["throughput"] == pytest.approx([0.8])


def test_the_tokens_of_a_session_have_its_weight():
    run = closed([10.0, 10.0], [1, 1], prompt_tokens=[100, 300], cached_tokens=[50, 300], best_cached_tokens=[80, 300])
    found = estimates([run], [np.array([[1.0, 1.0], [2.0, 0.0]])])
    assert found["prefix_hit_rate"] == pytest.approx([350 / 400, 0.5])
    assert found["best_hit_rate"] == pytest.approx([380 / 400, 0.8])


def test_the_attainment_of_each_kind_is_over_its_own_turns():
    run = closed([10.0, 5.0], [1, 1], kinds=["chat", "image"])
    run.turn_sessions.extend([0, 0, 1])
    run.in_time.extend([1, 0, 1])
    for values in (run.ttft_s, run.tpot_s, run.turn_prompt_tokens):
        values.extend([1, 1, 1])
    found = estimates([run], np.array([[[1.0, 1.0], [0.0, 1.0]]]))
    assert found["attainment_of_chat"] == pytest.approx([0.5, np.nan], nan_ok=True)
    assert found["attainment_of_image"] == pytest.approx([1.0, 1.0])
