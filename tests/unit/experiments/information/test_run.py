from concurrent.futures import Future
from pathlib import Path

import pytest

from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import SplitShares, load_params
from augserve.pipeline.simulator.catalogue import INFORMED
from augserve.pipeline.simulator.cells.cell import Cell, load_profile
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.pipeline.simulator.record.evidence import Evidence
from augserve.pipeline.simulator.record.samples import Samples
from experiments.information.params import InformationParams
from experiments.information.run import Experiment, name_of, started, table

ROOT = Path(__file__).parents[4]
LINEAR = StepTime(0.01, 1e-4, 1e-4, 0.0)
LIMITS = EngineLimits(4096, 2048, 8, 512)


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    params = load_params(InformationParams, ROOT / "params.yaml").changed(seeds=2)
    monkeypatch.chdir(tmp_path)
    load_profile.cache_clear()
    for row in params.rows:
        profile = StepProfile(
            row.profile, "", EngineLimits(4096, 2048, 8, 512), (1, 512), (0.01, 0.1), 0.0, 0.0, LINEAR
        )
        profile.save(paths.PROFILES / f"{row.profile}.json")
    return Experiment(params, 7, SchedulerSettings(), SplitShares(validation_share=0.1, test_share=0.2))


def test_every_source_of_every_quantity_runs_on_the_same_sessions(experiment: Experiment) -> None:
    cells: list[Cell] = []

    def submit(cell: Cell) -> "Future[Evidence]":
        cells.append(cell)
        done: Future[Evidence] = Future()
        done.set_result(Evidence({}, Samples(10.0, closed=False), [], [], []))
        return done

    started(experiment, experiment.params.rows[:1], submit)
    seeds = {policy: [cell.seed for cell in cells if cell.policy == policy] for policy in ("augserve", *INFORMED)}
    assert len({tuple(own) for own in seeds.values()}) == 1
    assert len(cells) == 2 * (1 + len(INFORMED))


def test_cells_state_the_step_times_of_their_own_engine(experiment: Experiment) -> None:
    row = experiment.params.rows[0]
    assert experiment.cell(row, "augserve", 0).settings.step_time == LINEAR


def test_rows_have_names_of_their_own(experiment: Experiment) -> None:
    assert len(set(map(name_of, experiment.params.rows))) == len(experiment.params.rows)


def test_the_table_relates_each_source_to_knowing_nothing() -> None:
    of = {
        "augserve": {"over_augserve-output-nothing": 1.2, "over_augserve-remaining-nothing": 1.0},
        "augserve-output-exact": {"over_augserve-output-nothing": 1.5},
    }
    rows = table({"mix": of}).set_index("quantity")
    assert rows.loc["the output length", ["exact", "models", "table"]].tolist() == ["1.500", "1.200", "–"]
    assert rows.loc["the turns left", ["exact", "models", "table"]].tolist() == ["–", "1.000", "–"]
