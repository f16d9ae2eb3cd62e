"""`manifest.json` of a bundle: what the bundle is, what it was made with, and the checksum of each file."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from ...features import feature
from .target import TARGETS

FORMAT = 2
"""Number of the bundle's format. To bump it: raise the number with any change of the manifest's keys, of the set of
files or of what they mean; write one line on the change below; keep a bundle of the old format under
tests/unit/models/ with a test of what becomes of it (read on, or refused with the remedy).

1: nine ONNX models (three targets, three quantiles), scheduler.json, manifest.json. Refused: package again.
2: one ONNX graph a feature set (turns.onnx, tool_calls.onnx) with all its targets, drift.json beside them.
"""
_CHECKSUM = "checksum"


class BundleError(ValueError):
    """A bundle is unusable here; the message names the file, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Manifest:
    version: str
    created: str  # ISO 8601, UTC
    git_revision: str
    vllm: str  # versions of vLLM that it is meant for, as in requirements: ">=0.29,<0.33"
    files: Mapping[str, str]  # name → sha256
    training: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    features_version: int = feature.VERSION
    features: Mapping[str, list[str]] = dataclasses.field(default_factory=lambda: expected_features())

    def render(self) -> bytes:
        """The file's bytes: JSON with sorted keys, the format number and a checksum over all the rest."""
        value = dataclasses.asdict(self) | {"format": FORMAT}
        return _dump(value | {_CHECKSUM: _checksum(value)})

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Raises BundleError for what is not JSON, of another format, of other features, or damaged."""
        try:
            value = json.loads(content)
        except ValueError as error:
            raise BundleError(f"manifest.json is not JSON ({error}); package it again or copy it anew") from error
        if not isinstance(value, dict) or "format" not in value:
            raise BundleError("manifest.json has no format number: it is no AugServe bundle; correct the path")
        _check_format(value.pop("format"))
        checksum = value.pop(_CHECKSUM, None)
        names = {part.name for part in dataclasses.fields(cls)}
        if wrong := sorted(names ^ set(value)):
            what = "missing" if wrong[0] in names else "unknown"
            raise BundleError(f"manifest.json: key {wrong[0]!r} is {what}; package it again or copy it anew")
        manifest = cls(**value)
        if checksum != _checksum(value | {"format": FORMAT}) or manifest.render() != content:
            raise BundleError("manifest.json is damaged (its checksum differs); package it again or copy it anew")
        manifest._check_features()
        return manifest

    def _check_features(self) -> None:
        remedy = "retrain with this release or install the one that made it"
        if self.features_version != feature.VERSION:
            raise BundleError(
                f"manifest.json: made with features of version {self.features_version}, "
                f"this release computes version {feature.VERSION}; {remedy}"
            )
        expected = expected_features()
        for target in sorted(expected.keys() | self.features.keys()):
            if self.features.get(target) != expected.get(target):
                raise BundleError(f"manifest.json: made with other feature names for {target!r}; {remedy}")

    def check_vllm(self, version: str) -> None:
        """Raise BundleError unless the running vLLM is in the range that the bundle is meant for."""
        remedy = (
            "install a vLLM in that range, or widen package.vllm_range in params.yaml and run `dvc repro package` "
            "(better retrain: `dvc repro`)"
        )
        try:
            fits = vllm_range(self.vllm).contains(Version(version), prereleases=True)
        except InvalidVersion as error:
            raise BundleError(f"manifest.json: cannot compare vLLM {version!r} with {self.vllm}; {remedy}") from error
        if not fits:
            raise BundleError(f"manifest.json: the bundle is for vLLM {self.vllm}, here runs {version}; {remedy}")


def vllm_range(text: str) -> SpecifierSet:
    """Parse a range of vLLM versions. Raises BundleError where it is none."""
    try:
        return SpecifierSet(text)
    except InvalidSpecifier as error:
        raise BundleError(f"{text!r} is no range of vLLM versions; write it like '>=0.29,<0.33'") from error


def expected_features() -> dict[str, list[str]]:
    """Feature names of each target, in this release's order."""
    return {target.name: [part.name for part in target.features] for target in TARGETS}


def _check_format(found: object) -> None:
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise BundleError(f"manifest.json: format {found!r} is no number; package it again or copy it anew")
    if found > FORMAT:
        raise BundleError(
            f"manifest.json: format {found} is newer than {FORMAT}, the newest known here; upgrade augserve"
        )
    if found < FORMAT:
        raise BundleError(f"manifest.json: format {found} is older than {FORMAT}; package it again with this release")


def _dump(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _checksum(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(_dump(value)).hexdigest()
