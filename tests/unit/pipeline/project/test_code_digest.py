from pathlib import Path

import pytest

from augserve.pipeline.project import code_digest as module


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "runtime/steering").mkdir(parents=True)
    (tmp_path / "runtime/steering/gain.py").write_text("GAIN = 1\n")
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    return module.code_digest.__wrapped__


@pytest.mark.parametrize(
    ("path", "text", "changes"),
    [
        ("runtime/steering/gain.py", "GAIN = 2\n", True),
        ("runtime/other.py", "", True),
        ("runtime/table.csv", "1\n", False),
        ("models/other.py", "", False),
    ],
)
def test_the_digest_depends_on_its_folders_only(digest, tmp_path: Path, path: str, text: str, changes: bool) -> None:
    before = digest("runtime")
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(text)
    assert (digest("runtime") != before) is changes
