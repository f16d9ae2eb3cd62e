import dataclasses
import json
from concurrent.futures import Future
from pathlib import Path

import pytest

from augserve.models.serving.onnx_predictor import model_files
from augserve.models.serving.settings import SchedulerSettings, ValueWeights
from augserve.pipeline.simulator.cells import cache
from augserve.pipeline.simulator.cells.cache import cached, cell_key
from augserve.pipeline.simulator.cells.cell import Cell
from augserve.pipeline.simulator.cells.schedule import Schedule
from augserve.pipeline.simulator.cells.store import CellStore
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.record.evidence import Evidence
from augserve.pipeline.simulator.record.samples import Samples


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    profile = tmp_path / "profile.json"
    profile.write_text("{}")
    for name in model_files():
        (tmp_path / name).write_bytes(b"trees")
    schedule = Schedule(1.0, 2.0, 1.0)
    return Cell("augmentation-mix", "augserve", profile, 8.0, 1, schedule, SchedulerSettings(), tmp_path)


def evidence(attainment: float) -> Evidence:
    samples = Samples(2.0, False, sessions=["a"], session_time_s=[None, 1.0], best_cached_tokens=[16])
    return Evidence({"attainment": attainment}, samples, [0.0], [512.0], [0.5])


class Submitted:
    """Counts what is run; each cell gives its policy's length."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []

    def __call__(self, cell: Cell) -> "Future[Evidence]":
        self.cells.append(cell)
        future: Future[Evidence] = Future()
        if cell.rate_per_s is not None and cell.rate_per_s < 0:
            future.set_exception(SimulationError("rate"))
        else:
            future.set_result(evidence(float(len(cell.policy))))
        return future


def test_a_cell_runs_once(cell: Cell, tmp_path: Path) -> None:
    run = Submitted()
    first = cached(run, CellStore(str(tmp_path / "cells")))(cell).result()
    second = cached(run, CellStore(str(tmp_path / "cells")))(cell).result()
    assert first == second == evidence(8.0)
    assert len(run.cells) == 1


def test_a_failed_cell_runs_again(cell: Cell, tmp_path: Path) -> None:
    run, failing = Submitted(), dataclasses.replace(cell, rate_per_s=-1.0)
    for _ in range(2):
        with pytest.raises(SimulationError):
            cached(run, CellStore(str(tmp_path / "cells")))(failing).result()
    assert len(run.cells) == 2


@pytest.mark.parametrize("damage", ["{", "[]", '{"attainment": 1.0}'])  # the last: of an older version
def test_a_damaged_result_is_computed_again(cell: Cell, tmp_path: Path, damage: str) -> None:
    run = Submitted()
    cached(run, CellStore(str(tmp_path / "cells")))(cell)
    (path,) = (tmp_path / "cells").iterdir()
    path.write_text(damage)
    assert cached(run, CellStore(str(tmp_path / "cells")))(cell).result() == evidence(8.0)
    assert Evidence.from_json(json.loads(path.read_text())) == evidence(8.0)


@pytest.mark.parametrize(
    "change",
    [
        {"rate_per_s": 9.0},
        {"seed": 2},
        {"policy": "vllm"},
        {"policy": "augserve-static-budget@1024"},
        {"schedule": Schedule(1.0, 3.0, 1.0)},
        {"rate_per_s": None, "agents": 8},
        {"pause_cap_s": 10.0},
        {"kv_offload_gib": 4.0},
    ],
)
def test_another_cell_has_another_key(cell: Cell, change: dict[str, object]) -> None:
    assert cell_key(dataclasses.replace(cell, **change)) != cell_key(cell)  # type: ignore[arg-type]


def test_changed_profiles_and_models_change_the_key(cell: Cell) -> None:
    before = cell_key(cell)
    cell.profile.write_text('{"format": 1}')
    changed = cell_key(cell)
    assert changed != before
    assert cell.models is not None
    (cell.models / model_files()[0]).write_bytes(b"other trees")
    assert cell_key(cell) not in {before, changed}


def test_tuned_weights_change_the_keys_of_augserve_only(cell: Cell) -> None:
    other = dataclasses.replace(cell.settings, weights=ValueWeights(output=3.0))
    assert cell_key(dataclasses.replace(cell, settings=other)) != cell_key(cell)
    stock = dataclasses.replace(cell, policy="vllm")
    assert cell_key(dataclasses.replace(stock, settings=other)) == cell_key(stock)


def test_models_change_the_keys_of_predicting_policies_only(cell: Cell) -> None:
    policies = ("vllm", "uncached-first", "augserve-oracle", "augserve", "augserve-static-budget@1024", "infercept")
    before = {policy: cell_key(dataclasses.replace(cell, policy=policy)) for policy in policies}
    assert cell.models is not None
    (cell.models / model_files()[0]).write_bytes(b"other trees")
    after = {policy: cell_key(dataclasses.replace(cell, policy=policy)) for policy in policies}
    assert {policy for policy in policies if before[policy] != after[policy]} == {
        "augserve",
        "augserve-static-budget@1024",
        "infercept",
    }


def test_a_missing_profile_is_named(cell: Cell) -> None:
    cell.profile.unlink()
    with pytest.raises(SimulationError, match=r"profile\.json: No such file.*dvc repro"):
        cell_key(cell)


def test_changed_code_of_augserve_changes_the_keys_of_all_policies_but_stock(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = ("vllm", "vllm@2048x64", "vllm-unbounded", "uncached-first", "augserve")
    keys = []
    for digest in ("before", "after"):
        monkeypatch.setattr(cache, "code_digest", lambda *folders, of=digest: of if "runtime" in folders else "")
        keys.append([cell_key(dataclasses.replace(cell, policy=policy)) for policy in policies])
    assert [one != other for one, other in zip(*keys, strict=True)] == [False, False, False, True, True]
