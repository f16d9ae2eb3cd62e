import dataclasses

import numpy as np
import pytest

from augserve.data.workload.coding_agents.effects import EFFECTS, SessionEffects, normal_level, normal_score
from augserve.data.workload.coding_agents.figures import PERCENTS, Quantiles
from augserve.data.workload.coding_agents.tables import load_kinds

KIND = load_kinds()["swe-agent"]


def test_quantiles_hold_at_their_levels_and_lie_between_them():
    quantiles = Quantiles(50, np.array([10.0 * 2**place for place in range(len(PERCENTS))]))
    assert quantiles.at(np.array([0.0, 0.5, 1.0])) == pytest.approx(quantiles.values[[0, 12, -1]])
    assert 10 < quantiles.at(0.005) < 20
    assert quantiles.nearest(0.501) == quantiles.values[12]


def test_normal_levels_and_scores_are_inverse():
    scores = np.array([-2.5, 0.0, 1.3])
    assert normal_score(normal_level(scores)) == pytest.approx(scores, abs=1e-3)


def test_deviates_have_the_correlations_of_the_table():
    random = np.random.default_rng(1)
    drawn = np.array([list(KIND.effects.draw(random).values()) for _ in range(5_000)])
    assert np.corrcoef(drawn.T) == pytest.approx(KIND.effects.correlations, abs=0.05)
    assert drawn.std(axis=0) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("between", [0.0, 0.3])
def test_levels_are_uniform_over_turns_and_shared_within_a_session(between):
    """Also where long sessions have high levels."""
    effects = SessionEffects({**KIND.effects.between, "output": between}, KIND.effects.correlations)
    kind = dataclasses.replace(KIND, effects=effects)
    random = np.random.default_rng(2)
    sessions = []
    for _ in range(4_000):
        deviates = kind.effects.draw(random)
        turns = round(float(kind.turns.at(normal_level(np.array(deviates["turns"])))))
        sessions.append(kind.levels("output", deviates["output"], turns, random))
    levels = np.concatenate(sessions)
    assert np.percentile(levels, [10, 50, 90]) == pytest.approx([0.1, 0.5, 0.9], abs=0.02)
    pairs = normal_score(np.array([own[:2] for own in sessions])).T
    assert np.corrcoef(pairs)[0, 1] == pytest.approx(between, abs=0.06)


def test_a_table_of_effects_has_one_row_and_one_column_for_each():
    assert KIND.effects.correlations.shape == (len(EFFECTS), len(EFFECTS))
    assert np.allclose(np.diag(KIND.effects.correlations), 1.0)
