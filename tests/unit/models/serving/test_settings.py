import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.settings import Admission, Retention, SchedulerSettings, SettingsError, Slo, ValueWeights

NUMBER = st.floats(0.01, 1.0)


@given(ttft_s=NUMBER, uncached=NUMBER, max_wait_s=NUMBER, profile=st.text(max_size=5))
def test_settings_survive_a_round_trip(ttft_s: float, uncached: float, max_wait_s: float, profile: str) -> None:
    settings = dataclasses.replace(
        SchedulerSettings(),
        slo=Slo(ttft_s=ttft_s),
        weights=ValueWeights(uncached=uncached),
        max_wait_s=max_wait_s,
        profile=profile,
    )
    assert SchedulerSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("slo", "ttft_s", 0, r"slo\.ttft_s is 0: it must lie in"),
        ("slo", "ttft_s", "1", r"slo\.ttft_s is '1': it must be a finite number"),
        ("slo", "tpot_s", float("nan"), r"slo\.tpot_s is nan"),
        ("budget", "min_tokens", True, r"budget\.min_tokens is True"),
        ("weights", "uncached", -1, r"weights\.uncached is -1"),
        ("retention", "max_share", 1.0, r"retention\.max_share is 1.0: it must lie in"),
        ("retention", "ttl_factor", -1, r"retention\.ttl_factor is -1"),
        ("admission", "overdue_share", 0, r"admission\.overdue_share is 0: it must lie in"),
        ("admission", "overdue_share", 1.5, r"admission\.overdue_share is 1.5: it must lie in"),
        ("admission", "pass_over_s", -1, r"admission\.pass_over_s is -1"),
        ("weights", "color", 1, r"weights\.color is unknown"),
    ],
)
def test_a_wrong_value_is_named(part: str, key: str, value: object, message: str) -> None:
    document = SchedulerSettings().to_json()
    document[part][key] = value
    with pytest.raises(SettingsError, match=message):
        SchedulerSettings.from_json(document)


@pytest.mark.parametrize("key", sorted(SchedulerSettings().to_json().keys() - {"retention", "admission"}))
def test_a_missing_key_is_named(key: str) -> None:
    document = SchedulerSettings().to_json()
    del document[key]
    with pytest.raises(SettingsError, match=f"{key} is missing"):
        SchedulerSettings.from_json(document)


def test_settings_older_than_retention_keep_nothing() -> None:
    document = dataclasses.replace(SchedulerSettings(), retention=Retention(max_share=0.5)).to_json()
    assert SchedulerSettings.from_json(document).retention.max_share == 0.5
    del document["retention"]
    assert SchedulerSettings.from_json(document).retention.max_share == 0.0


def test_settings_older_than_admission_take_its_defaults() -> None:
    document = dataclasses.replace(SchedulerSettings(), admission=Admission(pass_over_s=7.0)).to_json()
    assert SchedulerSettings.from_json(document).admission.pass_over_s == 7.0
    del document["admission"]
    assert SchedulerSettings.from_json(document).admission == Admission()


def test_settings_older_than_the_weights_of_fairness_weigh_none() -> None:
    document = dataclasses.replace(SchedulerSettings(), weights=ValueWeights(attained=1.0, tenant=2.0)).to_json()
    assert SchedulerSettings.from_json(document).weights.tenant == 2.0
    del document["weights"]["attained"], document["weights"]["tenant"]
    assert SchedulerSettings.from_json(document).weights == ValueWeights()


@pytest.mark.parametrize(("key", "value"), [("slo", []), ("weights", None), ("profile", 3)])
def test_a_part_of_another_type_is_named(key: str, value: object) -> None:
    document: dict[str, Any] = SchedulerSettings().to_json() | {key: value}
    with pytest.raises(SettingsError, match=key):
        SchedulerSettings.from_json(document)


def test_settings_older_than_draining_do_not_drain() -> None:
    document = SchedulerSettings().to_json()
    del document["budget"]["drain_target"]
    assert SchedulerSettings.from_json(document).budget.drain_target == 0.0
