import hashlib
import json
import logging
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from augserve.data.tables.files import read_table
from augserve.pipeline.project import paths
from augserve.pipeline.project.public_sets import PublicSetError
from augserve.pipeline.public import run as public

GOOD = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2030-01-02 03:04:05.5,11,7\n2030-01-02 03:04:06.5,22,8\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two public sets of the pipeline's: `small` in the mirror, `absent` nowhere."""
    root = tmp_path / "main"
    (root / "data/public/checksums").mkdir(parents=True)
    (root / "data/public/files").symlink_to("../upstream/files")
    facts = "{format: azure, licence: MIT, holds: little, defects: []}"
    (root / "data/public/sets.yaml").write_text(f"small: {facts}\nabsent: {facts}\n")
    for name in ("small", "absent"):
        (root / "data/upstream/files" / name).mkdir(parents=True)
        pointer = "deps: [{path: x, repo: {url: https://example.org/x, rev_lock: abc}}]\n"
        (root / f"data/upstream/files/{name}/x.dvc").write_text(pointer)
        (root / f"data/public/checksums/{name}.sha256").write_text(f"{hashlib.sha256(GOOD).hexdigest()}  x.csv\n")
    (tmp_path / "shared/data/small").mkdir(parents=True)
    (tmp_path / "shared/data/small/x.csv").write_bytes(GOOD)
    (root / "params.yaml").write_text("data: {sources: [gathered, small, absent], mirror: ../shared/data}\n")
    (root / paths.TOKENIZER).parent.mkdir(parents=True)
    Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(root / paths.TOKENIZER))
    monkeypatch.chdir(root)
    return root


def test_present_sets_are_imported_and_absent_ones_logged(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        public.main()
    turns = read_table(root / "data/traces/public/small", "turns")
    assert turns["prompt_tokens"].to_pylist() == [11, 22]
    assert set(turns["source"].to_pylist()) == {"small"}
    (metrics,) = json.loads(public.METRICS.read_text()).values()
    assert (metrics["turns"], metrics["sessions"], metrics["skipped"]) == (2, 2, {})
    (line,) = [record.getMessage() for record in caplog.records if record.name == public.__name__]
    command = "dvc --cd data/upstream pull --recursive files/absent"
    assert line.startswith("absent")
    assert command in line


def test_with_no_set_here_the_folder_is_there_and_empty(root: Path) -> None:
    (root / "params.yaml").write_text("data: {sources: [gathered, absent], mirror: ../nowhere}\n")
    (root / paths.TOKENIZER).unlink()
    public.main()
    assert list((root / "data/traces/public").iterdir()) == []
    assert json.loads(public.METRICS.read_text()) == {}


def test_malformed_records_are_counted_and_the_first_is_named(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = GOOD + b"2030-01-02 03:04:07.5,many,1\n"
    (root / "../shared/data/small/x.csv").write_bytes(content)
    sums = root / "data/public/checksums/small.sha256"
    sums.write_text(f"{hashlib.sha256(content).hexdigest()}  x.csv\n")
    public.main()
    assert sum(json.loads(public.METRICS.read_text())["small"]["skipped"].values()) == 1
    assert any("x.csv:4" in record.getMessage() for record in caplog.records)


def test_a_changed_file_stops_the_stage_before_anything_is_replaced(root: Path) -> None:
    public.main()
    (root / "data/public/files/small/x.csv").unlink()
    (root / "data/public/files/small/x.csv").write_bytes(GOOD.replace(b"11", b"12"))
    with pytest.raises(PublicSetError, match=r"x\.csv"):
        public.main()
    assert (root / "data/traces/public/small/turns.parquet").exists()
