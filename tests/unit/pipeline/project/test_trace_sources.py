import logging
from pathlib import Path

import pytest

from augserve.data.tables.files import rows_to_table, write_table
from augserve.pipeline.project.trace_sources import DataParams, Source, SourceError, present_sources

TURN = {"source": "x", "session_id": "s", "turn": 0, "arrival_s": 0.0, "prompt_tokens": 1, "output_tokens": 1}
PROJECT = Path(__file__).parents[4]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with the real pointers, one recorded set, and one public set imported."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/public").symlink_to(PROJECT / "data/public")
    (tmp_path / "data/upstream").symlink_to(PROJECT / "data/upstream")
    for folder in ("gathered", "public/azure-conv"):
        table = rows_to_table("turns", [TURN])
        write_table(tmp_path / "data/traces" / folder / "turns.parquet", "turns", table)
    return tmp_path


def test_sets_keep_their_order_and_missing_public_ones_are_logged(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    params = DataParams(sources=("azure-conv", "mooncake-conv", "gathered"), mirror="../shared/data")
    with caplog.at_level(logging.INFO):
        found = present_sources(params, root)
    traces = root / "data/traces"
    assert found == [Source("azure-conv", traces / "public/azure-conv"), Source("gathered", traces / "gathered")]
    (record,) = caplog.records
    assert record.getMessage().startswith("mooncake-conv")


@pytest.mark.parametrize("make", [False, True])
def test_an_own_set_that_is_missing_or_empty_is_refused(root: Path, make: bool) -> None:
    if make:
        (root / "data/traces/mine").mkdir()
    with pytest.raises(SourceError, match=r"data/traces/mine"):
        present_sources(DataParams(sources=("gathered", "mine"), mirror="../shared/data"), root)


def test_no_present_set_is_an_error(root: Path) -> None:
    with pytest.raises(SourceError, match=r"data\.sources"):
        present_sources(DataParams(sources=("mooncake-conv",), mirror="../shared/data"), root)


@pytest.mark.parametrize("names", [("a", "a"), ("../a",), ("public",), ("",)])
def test_invalid_names_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="sources"):
        DataParams(sources=names, mirror="../shared/data")
