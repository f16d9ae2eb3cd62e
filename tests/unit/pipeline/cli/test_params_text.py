from pathlib import Path

import pytest
import yaml

from augserve.pipeline.cli.params_text import with_slo, with_source
from augserve.pipeline.project.params import PARAMS_FILE
from augserve.pipeline.project.stage import StageError

PROJECT = Path(__file__).parents[4]


@pytest.mark.parametrize("sources", ["\n  - gathered", " gathered", " [gathered, [x]]"])
def test_sources_without_brackets_are_an_error(sources: str) -> None:
    with pytest.raises(StageError, match=r"data\.sources"):
        with_source(f"data:\n  sources:{sources}\n  mirror: x\n", "mine")


def test_the_project_s_parameters_accept_one_more_set() -> None:
    text = (PROJECT / PARAMS_FILE).read_text()
    before, after = yaml.safe_load(text), yaml.safe_load(with_source(text, "mine"))
    assert after["data"]["sources"] == [*before["data"]["sources"], "mine"]
    assert after | {"data": before["data"]} == before


def test_an_slo_is_changed_in_place() -> None:
    text = (PROJECT / PARAMS_FILE).read_text()
    changed = with_slo(text, ttft_s=3.0, tpot_s=None)
    assert yaml.safe_load(changed) == yaml.safe_load(text) | {"slo": {"ttft_s": 3.0, "tpot_s": 0.1}}
    assert len(changed.splitlines()) == len(text.splitlines())


@pytest.mark.parametrize("section", ["", "slo: {ttft_s: 1.0, tpot_s: 0.1}", "slo:\n  ttft_s:\n    1.0\n"])
def test_an_slo_in_another_form_is_an_error(section: str) -> None:
    with pytest.raises(StageError, match=r"slo\.ttft_s .* by hand"):
        with_slo(section, ttft_s=2.0)


@pytest.mark.parametrize("limit_s", [0.0, -1.0, float("nan"), float("inf"), 1e6])
def test_an_slo_out_of_range_is_an_error(limit_s: float) -> None:
    with pytest.raises(StageError, match=r"slo\.ttft_s"):
        with_slo((PROJECT / PARAMS_FILE).read_text(), ttft_s=limit_s)
