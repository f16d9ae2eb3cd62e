"""`manifest.json` of a bundle: its origin, its purpose, and the checksum of each file."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

import pydantic.dataclasses
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ...features import feature
from .target import TARGETS

MANIFEST = "manifest.json"
FORMAT = 2
"""Number of the bundle's format. Raise it with any change of the manifest's keys, the set of files or their meaning."""
_CHECKSUM = "checksum"
_REMEDY = "package it again or copy it anew"


class BundleError(ValueError):
    """A bundle is unusable here; the message names the file, the cause and the remedy."""


def expected_features() -> dict[str, list[str]]:
    """Feature names of each target, in this release's order."""
    return {target.name: [part.name for part in target.features] for target in TARGETS}


@pydantic.dataclasses.dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Manifest:
    version: str
    created: str  # ISO 8601, UTC
    git_revision: str
    vllm: str  # supported versions of vLLM, as in requirements: ">=0.29,<0.33"
    files: Mapping[str, str]  # name → sha256
    training: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    features_version: int = feature.VERSION
    features: Mapping[str, list[str]] = dataclasses.field(
        default_factory=expected_features
    )  # target → feature names, in order
    signature: str = ""  # see trust.py, in hexadecimal; empty: not signed

    def render(self) -> bytes:
        """The file's bytes: JSON with sorted keys, the format number and a checksum over all other keys."""
        value = dataclasses.asdict(self) | {"format": FORMAT}
        if not self.signature:
            del value["signature"]
        return _dump(value | {_CHECKSUM: hashlib.sha256(_dump(value)).hexdigest()})

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Raises BundleError for content that is not JSON, of another format or other features, or damaged."""
        try:
            value = json.loads(content)
            found = value.pop("format")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise BundleError(f"{MANIFEST} is not a bundle's manifest ({error}); correct the path") from error
        if found != FORMAT or isinstance(found, bool):
            raise BundleError(
                f"{MANIFEST}: format {found!r}, this release reads format {FORMAT}; "
                "package it again with this release, or install the release of the bundle"
            )
        value.pop(_CHECKSUM, None)
        try:
            manifest = TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            raise BundleError(f"{MANIFEST}: {key}: {first['msg'].lower()}; {_REMEDY}") from error
        try:
            rendered = manifest.render()
        except ValueError as error:  # a number that JSON does not have
            raise BundleError(f"{MANIFEST} is damaged ({error}); {_REMEDY}") from error
        if rendered != content:
            raise BundleError(f"{MANIFEST} is damaged (its checksum differs); {_REMEDY}")
        manifest._check_features()
        return manifest

    def _check_features(self) -> None:
        remedy = "retrain with this release or install the release of the bundle"
        if self.features_version != feature.VERSION:
            raise BundleError(
                f"{MANIFEST}: made with features of version {self.features_version}, "
                f"this release computes version {feature.VERSION}; {remedy}"
            )
        expected = expected_features()
        for target in sorted(expected.keys() | self.features.keys()):
            if self.features.get(target) != expected.get(target):
                raise BundleError(f"{MANIFEST}: made with other feature names for {target!r}; {remedy}")

    def check_vllm(self, version: str) -> None:
        """Raise BundleError unless the running vLLM is in the bundle's range."""
        remedy = (
            "install a vLLM in that range, or widen package.vllm_range in params.yaml and run `dvc repro package` "
            "(better retrain: `dvc repro`)"
        )
        try:
            fits = vllm_range(self.vllm).contains(Version(version), prereleases=True)
        except InvalidVersion as error:
            raise BundleError(f"{MANIFEST}: cannot compare vLLM {version!r} with {self.vllm}; {remedy}") from error
        if not fits:
            raise BundleError(f"{MANIFEST}: the bundle is for vLLM {self.vllm}, here runs {version}; {remedy}")


def files_of_manifest(content: bytes) -> set[str] | None:
    """Names of the files that a bundle's manifest of any format lists, itself included; None if it is none."""
    try:
        value = json.loads(content)
        if isinstance(value["format"], int) and _CHECKSUM in value and "features" in value:
            return {MANIFEST, *map(str, value["files"])}
    except (ValueError, LookupError, TypeError):
        pass
    return None


def vllm_range(text: str) -> SpecifierSet:
    """Parse a range of vLLM versions. Raises BundleError for another text."""
    try:
        return SpecifierSet(text)
    except InvalidSpecifier as error:
        raise BundleError(f"{text!r} is not a range of vLLM versions; write it like '>=0.29,<0.33'") from error


def _dump(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
