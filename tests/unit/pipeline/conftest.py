"""A project's root with small traces, on which stages prepare, train, export and package run."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from augserve.data.atomic import write_json
from augserve.data.tables.files import rows_to_table, write_table
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.export import run as export
from augserve.pipeline.package import run as package
from augserve.pipeline.prepare import run as prepare
from augserve.pipeline.project import paths
from augserve.pipeline.train import run as train
from augserve.runtime.recording.recorder import Recorder

Rows = list[dict[str, Any]]
SECTIONS: dict[str, dict[str, Any]] = {
    "base": {"seed": 7},
    "data": {"sources": ["gathered"], "mirror": "../shared/data"},
    "prepare": {
        "mix_sessions": 40,
        "mix_rate_per_s": 8.0,
        "max_turns": 100000,
        "validation_share": 0.15,
        "test_share": 0.2,
    },
    "train": {
        "max_rounds": 20,
        "max_rounds_only_forest": 20,
        "max_rounds_probability": 20,
        "early_stopping_rounds": 5,
        "learning_rate": 0.3,
        "learning_rate_probability": 0.3,
        "max_depth": 3,
        "max_depth_shared_trees": 3,
        "min_child_weight": 1.0,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "reg_lambda": 1.0,
    },
    "export": {"tolerance": 1e-4, "rows": 200},
    "package": {"vllm_range": ">=0.29,<0.33"},
}


def trace_rows(sessions: int) -> tuple[Rows, Rows]:
    """Turns and tool calls of overlapping sessions, as an importer returns them."""
    draw = random.Random(5)
    turns: Rows = []
    calls: Rows = []
    for index in range(sessions):
        now_s, context = 1.7e9 + index, 100
        for turn in range(length := draw.randint(1, 4)):
            key = {"source": "gathered", "session_id": f"session-{index}", "turn": turn}
            prompt, output = context + draw.randint(1, 50), draw.randint(1, 80)
            finish_s = now_s + output * 0.01
            counts = {"prompt_tokens": prompt, "output_tokens": output, "max_tokens": 256, "tools_offered": 2}
            turns.append(key | counts | {"arrival_s": now_s, "finish_s": finish_s, "finish_reason": "stop"})
            if turn + 1 < length:
                duration_s = draw.uniform(0.1, 2)
                call = {"tool": draw.choice(["sql", "python"]), "start_s": finish_s, "duration_s": duration_s}
                calls.append(key | call | {"call": 0, "timing": "call"})
                now_s, context = finish_s + duration_s, prompt + output
    return turns, calls


def write_traces(folder: Path, turns: Rows, calls: Rows) -> None:
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", turns))
    write_table(folder / "tool_calls.parquet", "tool_calls", rows_to_table("tool_calls", calls))


def record_traces(folder: Path, turns: Rows, calls: Rows) -> None:
    """Write the traces with the recorder of a deployment, in two runs of the server."""
    folder.parent.mkdir(parents=True)
    dropped: list[int] = []
    middle = len(turns) // 2
    sessions = {row["session_id"] for row in turns[:middle]}
    for first in (True, False):
        recorder = Recorder(folder, dropped.append)
        for table, rows in (("turns", turns), ("tool_calls", calls)):
            for row in rows:
                if (row["session_id"] in sessions) == first:
                    recorder.add(table, dict(row))
        recorder.close()
    assert not sum(dropped)


def write_params(root: Path, **changes: dict[str, Any]) -> None:
    sections = {name: values | changes.get(name, {}) for name, values in SECTIONS.items()}
    (root / "params.yaml").write_text(yaml.safe_dump(sections))


@pytest.fixture(scope="session")
def make_rows() -> Callable[[int], tuple[Rows, Rows]]:
    return trace_rows


@pytest.fixture(scope="session")
def save_traces() -> Callable[[Path, Rows, Rows], None]:
    return write_traces


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with traces and parameters; no stage has run."""
    write_params(tmp_path)
    write_traces(tmp_path / "data/traces/gathered", *trace_rows(20))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def change_params(root: Path) -> Callable[..., None]:
    return lambda **changes: write_params(root, **changes)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which all four stages have run on recorded traces. Tests must not change it."""
    root = tmp_path_factory.mktemp("finished")
    write_params(root)
    record_traces(root / "data/traces/gathered", *trace_rows(20))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        prepare.main()
        train.main()
        export.main()
        write_json(paths.TUNED_SETTINGS, SchedulerSettings().to_json())
        cells = {"h100": {"2x": {"augserve": {"effective_throughput": 70.0}}}}
        write_json(paths.EVALUATION_METRICS, {"augmentation-mix": cells, "summary": {"gain at 2x": 1.4}})
        package.main()
    return root


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished root that a test may change; without the MLflow store."""
    copy = tmp_path / "project"
    shutil.copytree(finished, copy, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    monkeypatch.chdir(copy)
    return copy
