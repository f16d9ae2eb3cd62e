"""The wheel on a GPU server: the base install, without training libraries."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
BASE_INSTALL = (
    *("numpy", "onnxruntime", "pyarrow", "flatbuffers", "google", "packaging", "prometheus_client"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions.py"),
)
PARTS = {"data", "features", "models", "runtime", "pipeline"}
DATA_SUFFIXES = (".parquet", ".onnx", ".safetensors", ".ubj", ".db", ".dvc")

# Imports the runtime's modules that need no vLLM, in an interpreter that sees the base install alone.
PROBE = """
import sys
import augserve.runtime
import augserve.models.serving.bundle, augserve.runtime.deployment
import augserve.runtime.hints.middleware, augserve.runtime.recording.recorder
import augserve.runtime.queueing.value, augserve.runtime.steering.token_budget
import augserve.runtime.sessions.table, augserve.runtime.prediction.forecaster
from augserve.runtime import AugServeMiddleware
training = {"pandas", "xgboost", "optuna", "mlflow", "dvc", "vllm", "torch"} & set(sys.modules)
assert not training, training
try:
    augserve.runtime.AugServeScheduler
except ImportError as error:
    print(error)
else:
    raise AssertionError("the scheduler must not import without vLLM")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True)
    (built,) = folder.glob("augserve-*.whl")
    return built


@pytest.fixture(scope="module")
def members(wheel: Path) -> list[PurePosixPath]:
    return [PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()]


def test_the_wheel_holds_the_five_parts_and_nothing_of_benchmarks_experiments_or_docs(
    members: list[PurePosixPath],
) -> None:
    assert {member.parts[0] for member in members if not member.parts[0].endswith(".dist-info")} == {"augserve"}
    package = [member for member in members if member.parts[0] == "augserve"]
    assert {member.parts[1] for member in package if len(member.parts) > 2} == PARTS
    assert {member.name for member in package if len(member.parts) == 2} == {"__init__.py", "py.typed"}


def test_the_wheel_holds_every_module_and_the_package_data(members: list[PurePosixPath]) -> None:
    names = {str(member) for member in members}
    sources = [path.relative_to(ROOT) for part in PARTS for path in (ROOT / part).rglob("*.py")]
    modules = {f"augserve/{path.as_posix()}" for path in sources}
    assert modules
    assert modules <= names
    assert "augserve/data/workload/augmentations.csv" in names


def test_the_wheel_holds_no_data_and_no_model(members: list[PurePosixPath]) -> None:
    assert not [member for member in members if member.name.endswith(DATA_SUFFIXES)]


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
