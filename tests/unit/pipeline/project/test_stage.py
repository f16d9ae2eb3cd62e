import subprocess
import sys

import pytest

from augserve.pipeline.project.params import ParamsError
from augserve.pipeline.project.stage import StageError, run_stage


@pytest.mark.parametrize("error", [StageError("disk full; free some"), ParamsError("params.yaml: no; yes")])
def test_an_expected_error_is_one_line_and_exit_code_1(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run_stage(main)
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        int("x")

    with pytest.raises(ValueError, match="invalid literal"):
        run_stage(main)


@pytest.mark.parametrize(
    ("text", "cause"),
    [("base: {seed: 1}\nnonsense: {}\n", "unknown section 'nonsense'"), ("base: {}\n", "section 'profile' is missing")],
)
def test_a_stage_run_on_wrong_parameters_exits_with_one_line_and_writes_nothing(
    tmp_path, text: str, cause: str
) -> None:
    (tmp_path / "params.yaml").write_text(text)
    run = subprocess.run(
        [sys.executable, "-m", "augserve.pipeline", "profile"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert cause in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
