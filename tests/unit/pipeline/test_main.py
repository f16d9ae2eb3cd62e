import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from augserve.pipeline.__main__ import STAGES

ROOT = Path(__file__).parents[3]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_dvc_runs_every_stage_and_no_other() -> None:
    assert {name: stage["cmd"] for name, stage in DVC.items()} == {
        name: f"python -m augserve.pipeline {name}" for name in STAGES
    }


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_main(stage: str) -> None:
    assert callable(import_module(f"augserve.pipeline.{stage}.run").main)


def test_an_unknown_stage_is_one_line_that_names_the_known_ones() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "augserve.pipeline", "deploy"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "'deploy'" in run.stderr
    assert all(stage in run.stderr for stage in STAGES)


def imported(module: Path, seen: set[Path]) -> set[Path]:
    """`module` and all modules of the project that it imports, directly or not."""
    if module in seen:
        return seen
    seen.add(module)
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = module.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for path in (package, *(package / alias.name for alias in node.names)):
                for file in (path.with_suffix(".py"), path / "__init__.py"):
                    if file.is_file():
                        imported(file, seen)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_every_module_that_it_imports(stage: str) -> None:
    modules = imported(ROOT / f"pipeline/{stage}/run.py", set())
    named = [ROOT / path for path in DVC[stage]["deps"]]
    missing = {
        str(module.relative_to(ROOT))
        for module in modules
        if module.name != "__init__.py" and not any(module.is_relative_to(path) for path in named)
    }
    assert missing == set()
