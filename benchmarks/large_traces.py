"""Benchmark `large_traces`: seconds and peak memory of `import` and `prepare` on traces larger than the memory.

Synthetic Claude Code logs of each size are written below `--scratch`, imported, and prepared there as the only recorded
set. The scratch is removed at the end. Needs disk for the logs and as much again.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from tqdm import tqdm

from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import run_stage

from .measure import usage_of, write_figures
from .synthetic_traces import claude_code_lines

SET = "synthetic"
FILE_SESSIONS = 100  # of one log file: about 13 MB
_AUGSERVE = (sys.executable, "-m", "augserve.pipeline.cli.__main__")
_STAGE = (sys.executable, "-m", "augserve.pipeline")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, nargs="+", default=[2.0, 10.0, 50.0], help="sizes (default: 2 10 50)")
    parser.add_argument("--scratch", type=Path, help="folder for logs and tables (default: the system's)")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    for size_gb in arguments.gb:
        with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="large-traces-") as folder:
            for name, value in _measured(Path(folder), size_gb).items():
                figures[f"{size_gb:g}_gb_{name}"] = value
                print(f"{size_gb:g} GB: {name}: {value}", flush=True)
    write_figures("large_traces", figures)


def _measured(folder: Path, size_gb: float) -> dict[str, float]:
    logs, project = folder / "logs", _project(folder / "project")
    sessions = _write_logs(logs, int(size_gb * 1e9))
    imported = _run(
        "import",
        (*_AUGSERVE, "import", "claude-code", str(logs), "--out", str(project / paths.TRACES / SET), "--source", SET),
        project,
    )
    shutil.rmtree(logs)
    return {"sessions": sessions, **imported, **_run("prepare", (*_STAGE, "prepare"), project)}


def _project(folder: Path) -> Path:
    """A project whose only recorded set is the synthetic one, with the parameters of this one."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["data"]["sources"] = [SET]
    (folder / paths.TRACES).mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return folder


def _write_logs(folder: Path, size_bytes: int) -> int:
    """Write logs of at least so many bytes; the number of sessions."""
    folder.mkdir()
    sessions, written = 0, 0
    with tqdm(total=size_bytes, desc="write logs", unit="B", unit_scale=True) as bar:
        while written < size_bytes:
            with (folder / f"{sessions // FILE_SESSIONS:06}.jsonl").open("wb") as file:
                for number in range(sessions, sessions + FILE_SESSIONS):
                    size = file.write(claude_code_lines(number))
                    written += size
                    bar.update(size)
                    sessions = number + 1
                    if written >= size_bytes:
                        break
    return sessions


def _run(name: str, command: tuple[str, ...], project: Path) -> dict[str, float]:
    start_s = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
    usage = usage_of(subprocess.Popen(command, cwd=project, env=environment))
    return {
        f"{name}_s": round(time.perf_counter() - start_s, 1),
        f"{name}_processor_s": usage.processor_s,
        f"{name}_peak_mb": usage.peak_mb,
    }


if __name__ == "__main__":
    run_stage(main)
