from pathlib import Path

import pytest
from pydantic import Field

from augserve.pipeline.project.params import SECTIONS, ParamsError, Section, load_params


class GatherSection(Section):
    SECTION = "gather"
    rate_per_s: float = Field(gt=0)
    count: int
    names: tuple[str, ...]
    limit: int | None


GOOD = "gather: {rate_per_s: 2, count: 3, names: [a, b], limit: null}\n"


@pytest.fixture
def load(tmp_path: Path):
    def load_text(text: str) -> GatherSection:
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return load_params(GatherSection, path)

    return load_text


def test_a_section_is_loaded_with_whole_numbers_taken_as_floats(load) -> None:
    assert load(GOOD) == GatherSection(rate_per_s=2.0, count=3, names=("a", "b"), limit=None)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (GOOD.replace("count", "cuont"), "unknown key gather.cuont"),
        (GOOD.replace("count: 3, ", ""), "key gather.count is missing"),
        (GOOD.replace("rate_per_s: 2", "rate_per_s: -1"), "gather.rate_per_s is -1: it must be"),
        (GOOD.replace("count: 3", "count: true"), "gather.count is True: it must be"),
        (GOOD.replace("count: 3", "count: 3.0"), r"gather.count is 3.0: it must be"),
        (GOOD.replace("[a, b]", "[a, 1]"), r"gather.names\[1\] is 1: it must be"),
        (GOOD.replace("[a, b]", "a"), "gather.names is 'a': it must be"),
        (GOOD + "gahter: {}\n", "unknown section 'gahter'"),
        ("base: {}\n", "section 'gather' is missing"),
        ("- 1\n", "must be a mapping"),
        ("gather: {\n", "not valid YAML"),
    ],
)
def test_a_wrong_file_gives_one_line_that_names_the_key(load, text: str, names: str) -> None:
    with pytest.raises(ParamsError, match=names) as caught:
        load(text)
    assert "\n" not in str(caught.value)


def test_keys_of_an_overriding_section_replace_the_section_s_own(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(GOOD + "tune_long: {count: 9}\n")
    loaded = load_params(GatherSection, path, overrides="tune_long")
    assert loaded == GatherSection(rate_per_s=2.0, count=9, names=("a", "b"), limit=None)
    path.write_text(GOOD + "tune_long: {cuont: 9}\n")
    with pytest.raises(ParamsError, match=r"unknown key .*cuont"):
        load_params(GatherSection, path, overrides="tune_long")
    path.write_text(GOOD)
    with pytest.raises(ParamsError, match="section 'tune_long' is missing"):
        load_params(GatherSection, path, overrides="tune_long")


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="run from the project's root"):
        load_params(GatherSection, tmp_path / "params.yaml")


def test_the_project_s_params_have_all_known_sections() -> None:
    import yaml

    root = Path(__file__).parents[4]
    assert tuple(yaml.safe_load((root / "params.yaml").read_text())) == SECTIONS
