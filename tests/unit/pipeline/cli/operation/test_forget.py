from pathlib import Path

import pytest

from augserve.data.tables.files import read_table, rows_to_table, write_table
from augserve.data.tables.pseudonyms import Pseudonyms
from augserve.pipeline.cli.__main__ import main
from augserve.runtime.hints.conversation import digest


def test_a_tenant_is_named_as_its_caller_names_it(tmp_path: Path) -> None:
    names = Pseudonyms.kept_in(tmp_path)
    facts = {"source": "s", "turn": 0, "arrival_s": 1.0, "prompt_tokens": 5, "output_tokens": 3}
    tenants = {"by user": names.of(digest("me@here")), "by hint": names.of("me@here"), "other": names.of(digest("you"))}
    rows = [facts | {"session_id": session, "tenant": tenant} for session, tenant in tenants.items()]
    write_table(tmp_path / "turns-1.parquet", "turns", rows_to_table("turns", rows))
    main(["forget", str(tmp_path), "--tenant", "me@here"])
    assert read_table(tmp_path, "turns")["session_id"].to_pylist() == ["other"]


def test_a_folder_of_no_recorder_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["forget", str(tmp_path), "--tenant", "me"])
    assert capsys.readouterr().err.count("\n") == 1
