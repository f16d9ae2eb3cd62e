import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from augserve.pipeline.cli.__main__ import main
from augserve.pipeline.cli.operation import check
from augserve.pipeline.operate.finding import Finding


def test_the_exit_status_and_the_json_tell_whether_something_is_bad(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", "--json"])
    assert json.loads(capsys.readouterr().out)["ok"] is True
    with pytest.raises(SystemExit) as ended:
        main(["check", "--json", "--bundle", str(tmp_path)])
    assert ended.value.code == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert [finding["about"] for finding in told["findings"] if finding["state"] == "bad"] == ["bundle"]


def test_arguments_of_vllm_are_passed_on_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[tuple[Sequence[str], Path | None]] = []

    def note(arguments: Sequence[str], bundle: Path | None) -> list[Finding]:
        passed.append((arguments, bundle))
        return []

    monkeypatch.setattr(check, "check_before_start", note)
    of_vllm = ["MODEL", "--max-num-seqs", "8", "--served-model-name", "a", "b", "--bundled", "-tp", "2"]
    main(["check", "--json", *of_vllm, "--bundle", "B"])
    assert passed == [(of_vllm, Path("B"))]


def test_a_url_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["check", "--url", "http://localhost:1", "MODEL"])
    assert "--url" in capsys.readouterr().err


def test_other_commands_refuse_what_they_do_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["data", "show", "somewhere", "--nonsense"])
    assert ended.value.code == 2
    assert "--nonsense" in capsys.readouterr().err
