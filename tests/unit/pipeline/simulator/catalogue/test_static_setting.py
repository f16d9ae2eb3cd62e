import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.pipeline.simulator.catalogue.static_setting import StaticSetting

COUNTS = st.none() | st.integers(1, 99_999)
SETTINGS = st.builds(
    StaticSetting, COUNTS, COUNTS, COUNTS, COUNTS, st.none() | st.sampled_from([0.01, 0.05, 0.5]), COUNTS
)


@given(SETTINGS)
def test_a_name_states_the_whole_setting(setting: StaticSetting) -> None:
    policy, _, stated = setting.name_of("vllm").partition("@")
    assert policy == "vllm"
    assert (StaticSetting.parse(stated) if stated else StaticSetting()) == setting


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("1024", StaticSetting(1024)),
        ("x8", StaticSetting(sequences=8)),
        ("1024x8,adaptive=512", StaticSetting(1024, 8, adaptive=512)),
        ("watermark=0.05", StaticSetting(watermark=0.05)),
        ("", None),
        ("0", None),
        ("1024,", None),
        ("1024,speed=3", None),
        ("watermark=1.5", None),
    ],
)
def test_a_text_of_another_form_is_no_setting(text: str, setting: StaticSetting | None) -> None:
    assert StaticSetting.parse(text) == setting
