import numpy as np
import pytest

from augserve.data.workload.coding_agents.effects import EFFECTS
from augserve.data.workload.coding_agents.sessions import coding_sessions
from augserve.data.workload.coding_agents.tables import load_kinds
from experiments.coding.aggregate import (
    MIN_TURNS,
    between,
    effect_rows,
    figure_rows,
    latent_share,
    nearest_correlations,
    standard,
)
from experiments.coding.records import Recorded
from experiments.coding.run import write_tables

SESSIONS = [session for session in coding_sessions(600, seed=6) if session.kind == "swe-agent"]
RECORDS = [Recorded(session, session.shared[0].tokens if session.shared else None) for session in SESSIONS]


def test_figures_of_drawn_sessions_are_those_they_were_drawn_from(tmp_path):
    figures, effects = tmp_path / "figures.csv", tmp_path / "effects.csv"
    write_tables({"swe-agent": RECORDS}, figures, effects)
    again, kind = load_kinds(figures, effects)["swe-agent"], load_kinds()["swe-agent"]
    assert again.turns.at(0.5) == pytest.approx(kind.turns.at(0.5), rel=0.1)
    assert again.first_prompt.at(0.9) == pytest.approx(kind.first_prompt.at(0.9), rel=0.05)
    assert again.effects.between["output"] == pytest.approx(kind.effects.between["output"], abs=0.07)
    assert again.effects.between["tool"] == pytest.approx(kind.effects.between["tool"], abs=0.06)
    assert again.effects.with_turns("last_context") == pytest.approx(kind.effects.with_turns("last_context"), abs=0.1)


def test_a_tool_with_few_turns_has_no_row():
    rows = list(figure_rows(RECORDS[:20], stages=False))
    counts = {tool: count for figure, stage, tool, count, _ in rows if figure == "pause" and stage == "late"}
    assert counts
    assert min(counts.values()) >= MIN_TURNS


def test_effects_come_in_their_order_with_valid_correlations():
    rows = list(effect_rows(RECORDS))
    assert [effect for effect, _, _ in rows] == list(EFFECTS)
    matrix = np.array([correlations for _, _, correlations in rows])
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_the_share_between_sessions_does_not_depend_on_their_length():
    random = np.random.default_rng(3)
    for length in (3, 50):
        owners = np.repeat(np.arange(3_000 // length * 4), length)
        common = random.standard_normal(owners[-1] + 1)[owners]
        values = standard(np.sqrt(0.2) * common + np.sqrt(0.8) * random.standard_normal(len(owners)))
        assert between(values, values, owners) == pytest.approx(0.2, abs=0.05)


def test_the_share_of_deviates_is_larger_than_that_of_the_names_they_draw():
    names = np.repeat([0, 1], [500, 500])
    assert latent_share(0.5, names) == pytest.approx(np.sin(np.pi / 4), abs=0.03)  # of two halves
    assert latent_share(0.0, names) < 0.02


def test_impossible_correlations_become_possible():
    impossible = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    nearest = nearest_correlations(impossible)
    assert np.linalg.eigvalsh(nearest).min() > 0
    assert np.diag(nearest) == pytest.approx(1.0)
