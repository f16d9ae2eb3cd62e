import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.settings import StepTime
from augserve.pipeline.simulator.profile import EngineLimits, ProfileError, StepProfile

PROFILE = StepProfile(
    name="test",
    source="by hand",
    limits=EngineLimits(4096, 2048, 64, 512),
    tokens=(1, 101, 201),
    table_s=(0.010, 0.020, 0.050),
    per_decode_s=0.001,
    per_context_token_s=1e-5,
    linear=StepTime(),
    residual={"median_relative_error": 0.02},
)


def test_step_time_interpolates_the_table_and_adds_decodes_and_context():
    assert PROFILE.step_s(51, 0, 0) == pytest.approx(0.015)
    assert PROFILE.step_s(41, 10, 100) == pytest.approx(0.015 + 0.010 + 0.001)


def test_step_time_goes_on_linearly_beyond_the_table():
    assert PROFILE.step_s(301, 0, 0) == pytest.approx(0.080)


def test_an_empty_step_takes_no_time():
    assert PROFILE.step_s(0, 0, 0) == 0.0


@given(st.integers(0, 1000), st.integers(0, 200), st.integers(0, 10**6))
def test_more_work_never_takes_less_time(prefill, decodes, context):
    assert PROFILE.step_s(prefill + 1, decodes, context) >= PROFILE.step_s(prefill, decodes, context)
    assert PROFILE.step_s(prefill, decodes + 1, context) >= PROFILE.step_s(prefill, decodes, context)


def test_json_gives_back_the_same_profile(tmp_path):
    PROFILE.save(tmp_path / "p.json")
    assert StepProfile.load(tmp_path / "p.json") == PROFILE


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": (1, 101)},
        {"tokens": (1, 201, 101)},
        {"tokens": (5, 101, 201)},
        {"table_s": (0.01, float("nan"), 0.05)},
        {"per_decode_s": -1.0},
        {"limits": EngineLimits(0, 1, 1, 1)},
    ],
)
def test_a_profile_with_gaps_or_impossible_times_is_refused(change):
    with pytest.raises(ProfileError, match="test"):
        dataclasses.replace(PROFILE, **change)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda value: value.pop("tokens"), "tokens"),
        (lambda value: value.update(format=99), "format"),
        (lambda value: value.update(extra=1), "extra"),
    ],
)
def test_a_foreign_file_is_named(tmp_path, spoil, cause):
    path = tmp_path / "p.json"
    PROFILE.save(path)
    value = json.loads(path.read_text())
    spoil(value)
    path.write_text(json.dumps(value))
    with pytest.raises(ProfileError, match=rf"p\.json.*{cause}"):
        StepProfile.load(path)


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ProfileError, match="dvc repro profile"):
        StepProfile.load(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(ProfileError, match="not valid JSON"):
        StepProfile.load(tmp_path / "p.json")
