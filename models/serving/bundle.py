"""The bundle: a folder with all files of a deployment, verified as a whole before the first use.

It holds `manifest.json`, `scheduler.json`, `drift.json` and one ONNX graph per feature set: no pickle.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...data.atomic import replace_folder
from .drift import DRIFT_FILE, DriftReference
from .graph_rules import MAX_BYTES
from .manifest import MANIFEST, BundleError, Manifest, vllm_range
from .onnx_predictor import OnnxPredictor, PredictorError, model_files
from .settings import SchedulerSettings, SettingsError
from .trial import try_models
from .trust import Trust

__all__ = ["Bundle", "BundleError", "Provenance", "load_bundle", "write_bundle"]

ANY = Trust()
SETTINGS = "scheduler.json"
_LEARNED = (*model_files(), DRIFT_FILE)
BUNDLE_FILES = (*_LEARNED, SETTINGS)
"""All files except the manifest."""
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(onnx|json)")
_REMEDY = "package it again or copy it anew"


@dataclass(frozen=True, slots=True)
class Bundle:
    manifest: Manifest
    settings: SchedulerSettings
    predictor: OnnxPredictor
    drift: DriftReference
    version: str
    sha256: str  # of the manifest
    path: Path


@dataclass(frozen=True, slots=True)
class Provenance:
    """The manifest's facts that do not follow from the bundle's files."""

    git_revision: str
    vllm_range: str
    training: Mapping[str, Any]
    evaluation: Mapping[str, Any]


def load_bundle(path: Path, vllm_version: str | None, trust: Trust = ANY, tried: bool = False) -> Bundle:
    """Verify the bundle in folder `path` and load it.

    `vllm_version`: the running vLLM's; None skips that check. `tried`: another process predicts first, under a time
    limit. Each file is read once, so that the verified bytes are the used bytes. Raises BundleError naming the file,
    the cause and the remedy.
    """
    try:
        return _load(path, vllm_version, trust, tried)
    except (BundleError, PredictorError, SettingsError) as error:
        raise BundleError(f"bundle {path}: {error}") from error


def write_bundle(
    path: Path, models: Path, settings: SchedulerSettings, provenance: Provenance, created: datetime
) -> Bundle:
    """Write a bundle of the ONNX models in folder `models`, verify it, then replace folder `path` by it.

    Its version is the day of `created` and the head of a hash over its files. Raises BundleError and leaves `path`
    as it was.
    """
    vllm_range(provenance.vllm_range)
    created = created.astimezone(UTC)
    contents = {name: _read(models / name) for name in _LEARNED}
    contents[SETTINGS] = (json.dumps(settings.to_json(), indent=2, sort_keys=True) + "\n").encode()
    files = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}
    manifest = Manifest(
        version=f"{created:%Y%m%d}-{hashlib.sha256(json.dumps(files).encode()).hexdigest()[:8]}",
        created=created.isoformat(timespec="seconds"),
        git_revision=provenance.git_revision,
        vllm=provenance.vllm_range,
        files=files,
        training=provenance.training,
        evaluation=provenance.evaluation,
    )

    def fill(folder: Path) -> None:
        for name, content in (contents | {MANIFEST: manifest.render()}).items():
            (folder / name).write_bytes(content)
        load_bundle(folder, None)

    replace_folder(path, fill)
    return load_bundle(path, None)


def _load(path: Path, vllm_version: str | None, trust: Trust, tried: bool) -> Bundle:
    if not path.is_dir():
        raise BundleError("no such folder; run `dvc repro package` or correct the path")
    rendered = _read(path / MANIFEST)
    manifest = Manifest.parse(rendered)
    trust.check(rendered, manifest)
    _check_names(path, manifest.files)
    contents = {name: _verified(path / name, digest) for name, digest in manifest.files.items()}
    if vllm_version is not None:
        manifest.check_vllm(vllm_version)
    try:
        document = json.loads(contents[SETTINGS])
    except ValueError as error:
        raise BundleError(f"{SETTINGS} is not JSON ({error}); {_REMEDY}") from error
    models = {name: contents[name] for name in model_files()}
    if tried:
        try_models(models)
    predictor = OnnxPredictor(models, checked=tried)
    drift = DriftReference.parse(contents[DRIFT_FILE])
    sha256 = hashlib.sha256(rendered).hexdigest()
    return Bundle(manifest, SchedulerSettings.from_json(document), predictor, drift, manifest.version, sha256, path)


def _check_names(path: Path, listed: Mapping[str, str]) -> None:
    if unsafe := [name for name in listed if not _SAFE_NAME.fullmatch(name)]:
        raise BundleError(f"{MANIFEST} lists {unsafe[0]!r}, not a plain .onnx or .json file name; {_REMEDY}")
    expected = set(BUNDLE_FILES)
    if wrong := sorted(expected ^ set(listed)):
        verb = "does not list" if wrong[0] in expected else "lists the unknown"
        raise BundleError(f"{MANIFEST} {verb} {wrong[0]}; {_REMEDY}")
    if wrong := sorted({entry.name for entry in path.iterdir()} ^ (expected | {MANIFEST})):
        raise BundleError(f"{wrong[0]} is {'missing' if wrong[0] in expected else 'not part of a bundle'}; {_REMEDY}")


def _verified(path: Path, digest: str) -> bytes:
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != digest:
        raise BundleError(f"{path.name} is damaged (its sha256 differs); {_REMEDY}")
    return content


def _read(path: Path) -> bytes:
    try:
        if path.is_symlink():
            raise BundleError(f"{path.name} is a link; a bundle holds plain files only: copy it anew")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise BundleError(f"{path.name} has {size} bytes, more than {MAX_BYTES}; {_REMEDY}")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path.name}: {error.strerror}; {_REMEDY}") from error
