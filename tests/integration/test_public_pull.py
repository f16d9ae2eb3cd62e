"""The public sets' pointers in DVC's hands: pulled from a git repository on this disk, with no network."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from augserve.pipeline.project.public_sets import PublicSetError, load_public_sets, present_files

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
CSV = b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
NAMES = ("azure-conv", "kv-cache-sessions")  # a file with its checksum in the pointer; a folder pinned by commit alone


def run(folder: Path, *command: str) -> str:
    """stdout and stderr; no setting of this user's takes part."""
    home = {"HOME": str(folder), "GIT_CONFIG_GLOBAL": os.devnull, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def git(folder: Path, *arguments: str) -> str:
    return run(folder, "git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments).strip()


def dvc(folder: Path, *arguments: str) -> str:
    return run(folder, sys.executable, "-m", "dvc", *arguments)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What GitHub would hold: both sets at their paths, and files that are not used."""
    source = tmp_path / "source"
    for path, content in {
        "data/AzureLLMInferenceTrace_conv.csv": CSV,
        "traces/trace_0001.json": b"{}",
        "traces/trace_0002.json": b"not listed",
        "README.md": b"",
    }.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(content)
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "traces")
    return source


@pytest.fixture
def root(tmp_path: Path, source: Path) -> Path:
    """A project with the real pointers of two sets, led to `source` and to its checksums."""
    root = tmp_path / "main"
    shutil.copytree(PROJECT / "data/public", root / "data/public", symlinks=True)
    (root / "data/upstream/.dvc").mkdir(parents=True)
    shutil.copy(PROJECT / "data/upstream/.dvc/config", root / "data/upstream/.dvc/config")
    commit = git(source, "rev-parse", "HEAD")
    for name in NAMES:
        folder = root / "data/upstream/files" / name
        folder.mkdir(parents=True)
        for path in (PROJECT / "data/upstream/files" / name).glob("*.dvc"):
            text = re.sub("url: .*", f"url: {source}", re.sub("[0-9a-f]{40}", commit, path.read_text()))
            text = re.sub("(?m)^md5: .*\n", "", text)
            text = text.replace("2ec51bd013f310fa72cac08de1331368", hashlib.md5(CSV).hexdigest())
            (folder / path.name).write_text(re.sub("size: .*", f"size: {len(CSV)}", text))
    facts = (root / "data/public/sets.yaml").read_text()
    kept = [part for part in re.split(r"(?m)^(?=\S)", facts) if part.startswith(NAMES)]
    (root / "data/public/sets.yaml").write_text("".join(kept))
    write_sums(root, source)
    git(root, "init", "-q")
    dvc(root, "init", "-q")
    return root


def write_sums(root: Path, source: Path) -> None:
    for name, folder, path in (
        ("azure-conv", source / "data", "AzureLLMInferenceTrace_conv.csv"),
        ("kv-cache-sessions", source, "traces/trace_0001.json"),
    ):
        (root / f"data/public/checksums/{name}.sha256").write_text(run(folder, "sha256sum", path))


def test_dvc_pulls_the_sets_and_the_listed_files_are_used(root: Path) -> None:
    assert "no data or pipelines tracked" in dvc(root, "status")
    dvc(root, "--cd", "data/upstream", "pull")
    files = root / "data/public/files"
    found = [present_files(public, root / "nowhere", root) for public in load_public_sets(root).values()]
    assert found == [
        [files / "kv-cache-sessions/traces/trace_0001.json"],
        [files / "azure-conv/AzureLLMInferenceTrace_conv.csv"],
    ]
    assert found[1][0].read_bytes() == CSV


def test_one_set_is_pulled_by_the_command_that_the_log_names(root: Path) -> None:
    public = load_public_sets(root)["azure-conv"]
    dvc(root, *public.command.split()[1:])
    assert present_files(public, root / "nowhere", root)
    assert present_files(load_public_sets(root)["kv-cache-sessions"], root / "nowhere", root) is None


def test_what_the_source_changed_since_is_refused_although_dvc_takes_it(root: Path) -> None:
    sums = root / "data/public/checksums/azure-conv.sha256"
    sums.write_text("0" * 64 + sums.read_text()[64:])
    dvc(root, "--cd", "data/upstream", "pull")
    with pytest.raises(PublicSetError, match="sha256 is"):
        present_files(load_public_sets(root)["azure-conv"], root / "nowhere", root)


STAGE = """\
stages:
  public:
    cmd: python -m augserve.pipeline public
    deps: [data/public/files]
    outs: [data/traces/public]
    metrics: [{reports/public/metrics.json: {cache: false}}]
"""


def test_the_stage_reruns_when_something_was_pulled_and_only_then(root: Path) -> None:
    (root / "dvc.yaml").write_text(STAGE.replace("python", sys.executable))
    (root / "params.yaml").write_text("data: {sources: [gathered, azure-conv], mirror: ../shared/data}\n")
    first = dvc(root, "repro")
    assert first.count("not here, left out") == 1
    assert "didn't change, skipping" in dvc(root, "repro")
    assert dvc(root, "status").strip() == "Data and pipelines are up to date."
    dvc(root, "--cd", "data/upstream", "pull", "--recursive", "files/azure-conv")
    assert "modified:           data/public/files" in dvc(root, "status")
