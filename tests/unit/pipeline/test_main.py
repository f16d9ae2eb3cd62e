import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from augserve.pipeline.__main__ import STAGES

DVC = yaml.safe_load((Path(__file__).parents[3] / "dvc.yaml").read_text())["stages"]


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
