"""Drawn coding agents against recorded ones: by the committed quantiles, and by the records where they are."""

import csv

import numpy as np
import pytest

from augserve.data.workload.coding_agents.figures import PERCENTS
from augserve.data.workload.coding_agents.sessions import coding_sessions
from augserve.data.workload.coding_agents.tables import EFFECTS_FILE, FIGURES_FILE
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import SplitShares, load_params
from experiments.coding.marginals import MARGINALS, kolmogorov_smirnov, pause_between_share
from experiments.coding.records import KINDS, read_records
from experiments.coding.run import REPORTS, write_tables

SESSIONS = coding_sessions(4_000, seed=5)
with (REPORTS / "marginals.csv").open() as lines:
    ROWS = [row for row in csv.DictReader(lines) if row["sample"] == "train"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['kind']}, {row['marginal']}")
def test_a_drawn_marginal_agrees_with_the_recorded_quantiles(row):
    drawn = np.sort(MARGINALS[row["marginal"]]([s for s in SESSIONS if s.kind == row["kind"]]))
    recorded = {percent: float(row[f"p{percent}"]) for percent in PERCENTS}
    for percent, value in recorded.items():
        below, up_to = (np.searchsorted(drawn, value, side=side) / len(drawn) for side in ("left", "right"))
        assert below - 0.1 <= percent / 100 <= up_to + 0.1
    if row["marginal"] != "sub-agents of a session":  # 0 or 1 at p90, as few more or less have one
        own = np.percentile(drawn, [10, 50, 90])
        assert own == pytest.approx([recorded[percent] for percent in (10, 50, 90)], rel=0.1, abs=0.51)


@pytest.fixture(scope="module")
def records():
    if not all((paths.PUBLIC_TRACES / source).is_dir() for source in KINDS.values()):
        pytest.skip("the public sets are not imported; `dvc repro public` imports them")
    return read_records(paths.PUBLIC_TRACES, load_params(SplitShares))


def test_the_committed_tables_are_those_of_the_training_part(records, tmp_path):
    figures, effects = tmp_path / "figures.csv", tmp_path / "effects.csv"
    write_tables({kind: parts["train"] for kind, parts in records.items()}, figures, effects)
    assert figures.read_text() == FIGURES_FILE.read_text()
    assert effects.read_text() == EFFECTS_FILE.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_sessions_agree_with_the_records(records, kind):
    train = [recorded.session for recorded in records[kind]["train"]]
    held_out = [recorded.session for part in ("validation", "test") for recorded in records[kind][part]]
    drawn = [session for session in SESSIONS if session.kind == kind]
    for of in MARGINALS.values():
        assert kolmogorov_smirnov(of(train), of(drawn)) <= 0.1
        # Few sessions are held out: they differ as much from the training part.
        assert kolmogorov_smirnov(of(held_out), of(drawn)) <= kolmogorov_smirnov(of(held_out), of(train)) + 0.07
    assert pause_between_share(drawn) == pytest.approx(pause_between_share(train), abs=0.03)
