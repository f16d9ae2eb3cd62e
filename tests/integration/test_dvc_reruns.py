"""What `dvc repro` runs again: real DVC on the project's own dvc.yaml and sources, with stages that only say they ran.

The stage `code` is the real one. Each other stage writes a digest of its deps into its outs, so that what it changes
reaches the stages after it as it would in earnest.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from augserve.pipeline.code.syntax import PARTS

ROOT = Path(__file__).parents[2]

FAKE = """
import hashlib, pathlib, sys, yaml
stage = sys.argv[1]
declared = yaml.safe_load(open("dvc.yaml"))["stages"][stage]
digest = hashlib.sha256()
for dep in declared["deps"]:
    paths = [pathlib.Path(dep)] if pathlib.Path(dep).is_file() else sorted(pathlib.Path(dep).rglob("*"))
    for path in paths:
        digest.update(path.read_bytes() if path.is_file() else b"")
for kind in ("outs", "metrics", "plots"):
    for out in declared.get(kind, []):
        path = pathlib.Path(out if isinstance(out, str) else next(iter(out)))
        if "." not in path.name:
            path = path / {"models/smollm2": "tokenizer.json"}.get(str(path), "x")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(digest.hexdigest())
with open("ran.log", "a") as log:
    log.write(stage + chr(10))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's sources, run once."""
    folder = tmp_path_factory.mktemp("project")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=_no_source, dirs_exist_ok=True)
    (folder / "src/augserve").mkdir(parents=True)
    for part in (*PARTS, "__init__.py"):
        (folder / "src/augserve" / part).symlink_to(Path("../..") / part)
    shutil.copy(ROOT / "__init__.py", folder)
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / ".dvcignore").write_text("__pycache__\n")
    (folder / "fake.py").write_text(FAKE)
    (folder / "data/public/files").mkdir(parents=True, exist_ok=True)
    declared: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for stage, of_stage in declared["stages"].items():
        for dep in of_stage["deps"]:
            if dep.startswith(("data/public", "pipeline/", "data/aug")) and not (folder / dep).exists():
                (folder / dep).mkdir(parents=True)
        if stage != "code":
            of_stage["cmd"] = f"python fake.py {stage}"
    (folder / "dvc.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    dvc(folder, "init", "--no-scm", "--quiet")
    assert set(reproduced(folder)) == set(declared["stages"]) - {"code"}
    return folder


def _no_source(folder: str, names: list[str]) -> set[str]:
    """Of the parts only code and small tables: not what stages made here."""
    return {
        name
        for name in names
        if name == "__pycache__"
        or not ((Path(folder) / name).is_dir() or name.endswith((".py", ".csv", ".j2", ".yaml")))
    } | {name for name in names if (Path(folder) / name).is_dir() and not list((Path(folder) / name).glob("*.py"))}


def dvc(folder: Path, *arguments: str) -> str:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "src"),
        "DVC_NO_ANALYTICS": "1",
    }
    command = [sys.executable, "-m", "dvc", *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def reproduced(folder: Path) -> list[str]:
    """The stages, but for `code`, that ran."""
    log = folder / "ran.log"
    log.unlink(missing_ok=True)
    dvc(folder, "repro")
    return log.read_text().split() if log.exists() else []


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_change_of_comments_and_docstrings_reruns_nothing(project: Path) -> None:
    value = project / "runtime/queueing/value.py"
    value.write_text("# a comment\n" + value.read_text() + "\n\n# another one\n")
    changed(project / "pipeline/gather/run.py", '"""', '"""Anew: ')
    assert reproduced(project) == []
    assert "up to date" in dvc(project, "status")


def test_a_change_of_a_term_of_the_value_reruns_what_simulates_it_and_what_follows(project: Path) -> None:
    value = project / "runtime/queueing/value.py"
    changed(value, "weights.", "2.0 * weights.")
    assert sorted(reproduced(project)) == ["evaluate", "package", "report", "tune"]
