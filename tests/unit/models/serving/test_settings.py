import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.settings import SchedulerSettings, SettingsError, Slo, ValueWeights, flat

from ....damage import damaged

NUMBER = st.floats(0.01, 1.0)


@given(ttft_s=NUMBER, uncached=NUMBER, max_wait_s=NUMBER, profile=st.text(max_size=5))
def test_settings_round_trip(ttft_s: float, uncached: float, max_wait_s: float, profile: str) -> None:
    settings = dataclasses.replace(
        SchedulerSettings(),
        slo=Slo(ttft_s=ttft_s),
        weights=ValueWeights(uncached=uncached),
        max_wait_s=max_wait_s,
        profile=profile,
    )
    assert SchedulerSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("slo", "ttft_s", 0),
        ("slo", "ttft_s", "1"),
        ("slo", "tpot_s", float("nan")),
        ("residency", "keep", True),
        ("budget", "prefill_share", 1.0),
        ("weights", "uncached", -1),
        ("weights", "color", 1),
        ("residency", "share", 1.1),
        ("residency", "keep", -1),
        ("admission", "overdue_share", 0),
        ("admission", "overdue_share", 1.5),
        ("admission", "pass_over_s", -1),
    ],
)
def test_an_invalid_value_is_refused_by_its_key(part: str, key: str, value: object) -> None:
    document = SchedulerSettings().to_json()
    document[part][key] = value
    with pytest.raises(SettingsError, match=rf"scheduler\.json: {part}\.{key} is {value}|{part}\.{key} is '") as caught:
        SchedulerSettings.from_json(document)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", sorted(flat(SchedulerSettings().to_json())))
def test_a_missing_key_is_refused_by_its_name(key: str) -> None:
    document = SchedulerSettings().to_json()
    *parts, last = key.split(".")
    del (document[parts[0]] if parts else document)[last]
    with pytest.raises(SettingsError, match=f"{key} is missing"):
        SchedulerSettings.from_json(document)


@pytest.mark.parametrize(("key", "value"), [("slo", []), ("weights", None), ("profile", 3)])
def test_a_part_of_another_type_is_refused_by_its_key(key: str, value: object) -> None:
    document: dict[str, Any] = SchedulerSettings().to_json() | {key: value}
    with pytest.raises(SettingsError, match=key):
        SchedulerSettings.from_json(document)


def test_a_part_made_in_code_is_validated_too() -> None:
    with pytest.raises(SettingsError, match="ttft_s"):
        Slo(ttft_s=-1.0)
    with pytest.raises(SettingsError, match="max_wait_s"):
        dataclasses.replace(SchedulerSettings(), max_wait_s=0.0)


def test_settings_are_read_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SchedulerSettings().max_wait_s = 1.0  # type: ignore[misc]


@pytest.mark.fuzz
@given(damaged(SchedulerSettings().to_json()))
def test_damaged_settings_are_refused_or_sound(value: Any) -> None:
    try:
        settings = SchedulerSettings.from_json(value)
    except SettingsError as error:
        assert "\n" not in str(error)  # noqa: PT017 — sound values are no error
    else:
        assert SchedulerSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_an_override_changes_its_setting_alone() -> None:
    settings = SchedulerSettings(max_wait_s=9.0)
    changed = settings.overridden({"slo.ttft_s": 2, "profile": "mine"})
    assert (changed.slo.ttft_s, changed.profile) == (2.0, "mine")
    assert changed.overridden({"slo.ttft_s": 1.0, "profile": settings.profile}) == settings


@pytest.mark.parametrize(
    ("name", "value"), [("slo", {}), ("slo.none", 1.0), ("slo.ttft_s", -1.0), ("max_wait_s", "9"), ("none", 1.0)]
)
def test_a_wrong_override_is_one_line_that_names_it(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        SchedulerSettings().overridden({name: value})
    assert "\n" not in str(caught.value)


def test_an_unknown_key_with_a_line_break_is_one_line() -> None:
    with pytest.raises(SettingsError) as error:
        SchedulerSettings.from_json(SchedulerSettings().to_json() | {"max\nwait": 1.0})
    assert "\n" not in str(error.value)
    assert "max wait" in str(error.value)
