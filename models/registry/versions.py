"""MLflow's model registry: each bundle is a version of one registered model, with aliases and rollback."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

REGISTERED_MODEL = "augserve-scheduler"
BUNDLE_TAG = "augserve.bundle"
ROLLED_BACK_TAG = "augserve.rolled_back"
CHAMPIONS_TAG = "augserve.champions"
"""Tag of the registered model: the numbers of its champions, oldest first."""
CHAMPION = "champion"
CHALLENGER = "challenger"
_HISTORY = 100
_DESCRIPTION = (
    "AugServe's scheduler: each version is a bundle (ONNX models and scheduler.json) that vLLM loads. "
    "`augserve pull` fetches the `champion`. Tick two versions to compare them."
)


class RegistryError(ValueError):
    """The registry cannot serve a request; the message names the thing, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version."""

    number: int
    bundle: str
    aliases: tuple[str, ...]
    created: datetime
    description: str
    run_id: str
    source: str  # URI of its bundle
    tags: Mapping[str, str]

    @classmethod
    def of(cls, entity: Any, aliases: Mapping[str, str]) -> Self:
        """From MLflow's entity, which lacks the aliases; `aliases`: alias → number, of the whole model."""
        return cls(
            number=int(entity.version),
            bundle=str(entity.tags.get(BUNDLE_TAG, "")),
            aliases=tuple(sorted(alias for alias, number in aliases.items() if int(number) == int(entity.version))),
            created=datetime.fromtimestamp(entity.creation_timestamp / 1000, UTC),
            description=entity.description or "",
            run_id=entity.run_id or "",
            source=entity.source or "",
            tags=dict(entity.tags),
        )


def registered_versions(client: Any) -> list[Version]:
    """All versions, the oldest first."""
    of_this = f"name = '{REGISTERED_MODEL}'"
    models = client.search_registered_models(of_this)
    aliases = {alias: number for model in models for alias, number in model.aliases.items()}
    versions: list[Version] = []
    token = None
    while token != "":
        page = client.search_model_versions(of_this, page_token=token)
        versions += [Version.of(entry, aliases) for entry in page]
        token = page.token or ""
    return sorted(versions, key=lambda version: version.number)


def resolve(versions: Sequence[Version], wanted: str) -> Version:
    """The version with that number, alias or bundle version. Raises RegistryError if there is none."""
    if not versions:
        raise RegistryError(f"registered model {REGISTERED_MODEL}: no version yet; run `dvc repro package`")
    for version in versions:
        if wanted in (str(version.number), version.bundle, *version.aliases):
            return version
    if wanted == CHAMPION:
        raise RegistryError(
            f"registered model {REGISTERED_MODEL}: no version is its champion; "
            "name one, or make one the champion with `augserve rollback VERSION`"
        )
    last = ", ".join(str(version.number) for version in versions[-10:])
    raise RegistryError(f"registered model {REGISTERED_MODEL}: no version {wanted!r}; the last are {last}")


def present_champion(versions: Sequence[Version]) -> Version | None:
    return next((version for version in versions if CHAMPION in version.aliases), None)


def register(client: Any, bundle_version: str, run_id: str, artifact_uri: str, tags: Mapping[str, str]) -> Version:
    """Register a run's artifacts at `artifact_uri` as a new version."""
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # it exists already
        client.create_registered_model(REGISTERED_MODEL, tags={"project": "augserve"}, description=_DESCRIPTION)
    tags = {BUNDLE_TAG: bundle_version} | dict(tags)
    return Version.of(client.create_model_version(REGISTERED_MODEL, artifact_uri, run_id=run_id, tags=tags), {})


def promote(client: Any, version: Version) -> None:
    """Make a version the champion and add it to the history of champions."""
    history = _champions(client)
    number = version.number
    # Going back to an earlier champion drops the later ones from the history.
    history = history[: history.index(number) + 1] if number in history else [*history, number]
    client.set_registered_model_tag(REGISTERED_MODEL, CHAMPIONS_TAG, " ".join(map(str, history[-_HISTORY:])))
    client.set_registered_model_alias(REGISTERED_MODEL, CHAMPION, str(number))
    if CHALLENGER in version.aliases:
        client.delete_registered_model_alias(REGISTERED_MODEL, CHALLENGER)


def challenge(client: Any, version: Version) -> None:
    """Make a version the challenger; an earlier challenger loses the alias."""
    client.set_registered_model_alias(REGISTERED_MODEL, CHALLENGER, str(version.number))


def describe(client: Any, version: Version, text: str) -> None:
    client.update_model_version(REGISTERED_MODEL, str(version.number), text)


def roll_back(client: Any, wanted: str | None, now: datetime) -> tuple[Version, Version | None]:
    """Make `wanted` the champion again (None: the champion before the present one); return it and the replaced one.

    The description of the replaced version records the rollback, and the rule never promotes it again. Raises
    RegistryError.
    """
    versions = registered_versions(client)
    left = present_champion(versions)
    target = resolve(versions, wanted if wanted is not None else str(_before(client, versions)))
    if left is not None and left.number == target.number:
        raise RegistryError(f"version {target.number} is the champion already; `augserve versions` lists the others")
    promote(client, target)
    if target.tags.get(ROLLED_BACK_TAG):
        client.delete_model_version_tag(REGISTERED_MODEL, str(target.number), ROLLED_BACK_TAG)
    if left is not None:
        day = now.astimezone(UTC).isoformat(timespec="seconds")
        client.set_model_version_tag(REGISTERED_MODEL, str(left.number), ROLLED_BACK_TAG, day)
        describe(client, left, f"{left.description}\n\nRolled back to version {target.number} on {day}.".strip())
    return target, left


def _before(client: Any, versions: Sequence[Version]) -> int:
    """Number of the last existing champion before the present one."""
    present = resolve(versions, CHAMPION).number
    existing = {version.number for version in versions}
    earlier = [number for number in _champions(client) if number in existing and number != present]
    if not earlier:
        raise RegistryError(
            f"version {present} is the first champion; name the version to take: `augserve rollback VERSION`"
        )
    return earlier[-1]


def _champions(client: Any) -> list[int]:
    text = client.get_registered_model(REGISTERED_MODEL).tags.get(CHAMPIONS_TAG, "")
    return [int(number) for number in text.split() if number.isdigit()]
