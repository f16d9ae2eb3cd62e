"""The wheel as a GPU server gets it: the base install, without any training library."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE_INSTALL = ("numpy", "onnxruntime", "pyarrow", "flatbuffers", "google", "packaging")

# Imports every module of the runtime that does not need vLLM, in an interpreter that sees the base install alone.
PROBE = """
import sys
import augserve.runtime
import augserve.models.serving.bundle, augserve.runtime.deployment
import augserve.runtime.hints.middleware, augserve.runtime.recording.recorder
import augserve.runtime.queueing.value, augserve.runtime.steering.token_budget
import augserve.runtime.sessions.table, augserve.runtime.prediction.forecaster
from augserve.runtime import AugServeMiddleware
absent = {"pandas", "xgboost", "optuna", "mlflow", "dvc", "vllm", "torch"} & set(sys.modules)
assert not absent, absent
try:
    augserve.runtime.AugServeScheduler
except ImportError as error:
    print(error)
else:
    raise AssertionError("the scheduler cannot exist without vLLM")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True)
    (built,) = folder.glob("augserve-*.whl")
    return built


def test_the_wheel_holds_every_part_and_no_data_of_a_run(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for member in (
        "runtime/scheduler.py",
        "features/turn.py",
        "models/serving/bundle.py",
        "data/workload/augmentations.csv",
        "runtime/vllm_compat/fingerprints.json",
        "py.typed",
    ):
        assert f"augserve/{member}" in names
    assert not [name for name in names if name.endswith((".parquet", ".onnx", ".safetensors", ".ubj", ".db"))]


def test_the_base_install_imports_the_runtime_without_any_training_library(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    installed = Path(sysconfig.get_paths()["purelib"])
    for name in BASE_INSTALL:
        if (installed / name).exists():
            (site / name).symlink_to(installed / name)
    for libraries in installed.glob("*.libs"):
        (site / libraries.name).symlink_to(libraries)
    run = subprocess.run(
        [sys.executable, "-S", "-c", PROBE],
        env={"PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "vLLM" in run.stdout
