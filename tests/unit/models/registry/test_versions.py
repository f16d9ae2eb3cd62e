"""Versions in a real MLflow store."""

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from augserve.models.registry.source import Registry
from augserve.models.registry.versions import (
    CHALLENGER,
    CHAMPION,
    ROLLED_BACK_TAG,
    RegistryError,
    challenge,
    describe,
    present_champion,
    promote,
    register,
    registered_versions,
    resolve,
    roll_back,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def client(mlflow_database, tmp_path):
    return Registry(f"sqlite:///{shutil.copy(mlflow_database, tmp_path / 'mlflow.db')}").client


@pytest.fixture
def three(client, tmp_path):
    """Three versions that were champions one after the other."""
    run = client.create_run(client.create_experiment("evaluation", artifact_location=tmp_path.as_uri()))
    for name in "abc":
        version = register(client, f"20261124-{name}", run.info.run_id, tmp_path.as_uri(), {"vllm": ">=0.32"})
        promote(client, version)
    return client


def champion_number(client):
    return present_champion(registered_versions(client)).number


def test_versions_are_listed_oldest_first(three):
    versions = registered_versions(three)
    assert [version.number for version in versions] == [1, 2, 3]
    assert [version.bundle for version in versions] == ["20261124-a", "20261124-b", "20261124-c"]
    assert [version.aliases for version in versions] == [(), (), (CHAMPION,)]
    assert versions[0].tags["vllm"] == ">=0.32"
    assert abs(versions[0].created.timestamp() - datetime.now(UTC).timestamp()) < 600


def test_version_resolves_by_number_alias_and_bundle(three):
    versions = registered_versions(three)
    assert [resolve(versions, wanted).number for wanted in ("2", CHAMPION, "20261124-a")] == [2, 3, 1]


def test_unregistered_version_raises_a_one_line_error(client, three):
    with pytest.raises(RegistryError, match=r"no version yet; run `dvc repro package`"):
        resolve([], CHAMPION)
    with pytest.raises(RegistryError, match=r"no version '9'; the last are 1, 2, 3"):
        resolve(registered_versions(three), "9")
    three.delete_registered_model_alias("augserve-scheduler", CHAMPION)
    with pytest.raises(RegistryError, match=r"no version is its champion; .*`augserve rollback VERSION`"):
        resolve(registered_versions(three), CHAMPION)


class OneAPage:
    """The registry's client with one version per page."""

    def __init__(self, client):
        self._client = client
        self.search_registered_models = client.search_registered_models

    def search_model_versions(self, of_this, page_token):
        return self._client.search_model_versions(of_this, max_results=1, page_token=page_token)


def test_all_pages_of_versions_are_read(three):
    assert registered_versions(OneAPage(three)) == registered_versions(three)


def test_rollback_goes_back_one_champion_at_a_time(three):
    describe(three, resolve(registered_versions(three), "3"), "Champion: better.")
    target, left = roll_back(three, None, NOW)
    assert (target.number, left.number, champion_number(three)) == (2, 3, 2)
    former = resolve(registered_versions(three), "3")
    assert former.tags[ROLLED_BACK_TAG] == "2026-11-24T12:00:00+00:00"
    assert former.description == "Champion: better.\n\nRolled back to version 2 on 2026-11-24T12:00:00+00:00."
    roll_back(three, None, NOW)
    assert champion_number(three) == 1
    with pytest.raises(RegistryError, match="version 1 is the first champion; name the version"):
        roll_back(three, None, NOW)


def test_rollback_to_a_named_version_goes_both_ways(three):
    roll_back(three, "1", NOW)
    roll_back(three, "20261124-c", NOW)
    assert champion_number(three) == 3
    assert ROLLED_BACK_TAG not in resolve(registered_versions(three), "3").tags
    assert roll_back(three, None, NOW)[0].number == 1


def test_rollback_skips_a_deleted_version(three):
    three.delete_model_version("augserve-scheduler", "2")
    assert roll_back(three, None, NOW)[0].number == 1


def test_rollback_to_the_champion_changes_nothing(three):
    with pytest.raises(RegistryError, match=re.escape("version 3 is the champion already")):
        roll_back(three, "3", NOW)
    assert champion_number(three) == 3


def test_promoted_challenger_loses_its_alias(three, tmp_path):
    run_id = registered_versions(three)[0].run_id
    challenge(three, register(three, "20261124-d", run_id, tmp_path.as_uri(), {}))
    fourth = resolve(registered_versions(three), CHALLENGER)
    assert fourth.number == 4
    promote(three, fourth)
    assert resolve(registered_versions(three), "4").aliases == (CHAMPION,)


def test_missing_registry_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"mlflow\.db"):
        Registry(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert list(tmp_path.iterdir()) == []
