"""The whole experiment, on a small engine."""

import json
from pathlib import Path

import pytest
import yaml

from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.project import paths
from augserve.pipeline.simulator.cells.cell import load_profile
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from experiments.sessions.run import REPORTS, main

from .scenes import PARAMS, SCENE


def test_the_experiment_writes_its_figures_and_resumes_from_finished_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    load_profile.cache_clear()
    limits, linear = EngineLimits(8192, 8192, 128, 512), StepTime(0.005, 2e-4, 1e-4, 0.0)
    StepProfile("p", "by hand", limits, (1, 512), (0.005, 0.1), 0.0, 0.0, linear).save(paths.PROFILES / "p.json")
    paths.TUNED.mkdir(parents=True)
    paths.TUNED_SETTINGS.write_text(json.dumps(SchedulerSettings().to_json()))
    paths.TUNED_CAPACITY.write_text('{"sessions_per_s": 1.0}')
    scene = SCENE.model_copy(update={"agents": (8,), "static_agents": 8, "references": ("vllm-unbounded",)})
    params = PARAMS.changed(scenes=(scene,), seeds=1, reference_seeds=1)
    sections = {
        "base": {"seed": 7},
        "prepare": {"validation_share": 0.15, "test_share": 0.2},
        "sessions": json.loads(params.model_dump_json()),
    }
    Path("params.yaml").write_text(yaml.safe_dump(sections))
    main()
    found = json.loads((REPORTS / "metrics.json").read_text())
    cells = found["scenes"][scene.name]["8"]
    assert set(cells) == {"vllm-tuned", "uncached-first", "vllm-unbounded"}
    assert all(cell["steps_per_minute"] > 0 for cell in cells.values())
    assert "steps_over_vllm-tuned" in cells["uncached-first"]
    assert set(found["static"][scene.name]["vllm-tuned"]) >= {"vllm", "vllm@128"}
    written = {path: path.stat().st_mtime_ns for path in paths.CELLS.iterdir()}
    assert len(written) == 3 + 3
    main()
    assert {path: path.stat().st_mtime_ns for path in paths.CELLS.iterdir()} == written
