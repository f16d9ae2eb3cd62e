"""Stage `package`, and the way from recorded traces to a registered bundle."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from augserve.models.learning.training_set import read_training_set
from augserve.models.registry.versions import CHAMPION, registered_versions
from augserve.models.serving.bundle import load_bundle
from augserve.models.serving.settings import SettingsError
from augserve.models.serving.target import OUTPUT_LENGTH
from augserve.models.serving.trust import Trust
from augserve.pipeline.package import run as package
from augserve.pipeline.prepare import run as prepare
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.project.tracking import tracking_client

Rows = list[dict[str, Any]]
MakeRows = Callable[[int], tuple[Rows, Rows]]


def test_recorded_traces_become_a_bundle(finished: Path, make_rows: MakeRows) -> None:
    """Input: the files of a recorder from two runs of a server."""
    for table in ("turns", "tool_calls"):
        assert len(list((finished / "data/traces/gathered").glob(f"{table}-*.parquet"))) == 2
    turns, calls = make_rows(20)
    metrics = json.loads((finished / prepare.METRICS).read_text())
    assert metrics["recorded_turns"] == len(turns)
    assert sum(metrics["rows"]["output_length"]["gathered"].values()) == len(turns)
    # Each call has two rows: as called, and as expected.
    assert sum(metrics["rows"]["tool_duration"]["gathered"].values()) == 2 * len(calls)
    bundle = load_bundle(finished / paths.BUNDLE, "0.32.0")
    assert bundle.manifest.training["gathered"]["output_length"]["rows"] > 0
    rows = read_training_set(finished / paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH).part("test").rows
    assert np.isfinite(bundle.predictor.turns(rows).output_length).all()


def test_second_packaging_registers_no_second_version(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    bundle = load_bundle(paths.BUNDLE, "0.32.0")
    assert bundle.manifest.evaluation == {"gain at 2x": 1.4}
    assert bundle.manifest.training == json.loads(paths.TRAINING_METRICS.read_text())
    package.main()
    (version,) = registered_versions(tracking_client())
    assert (version.bundle, version.aliases) == (load_bundle(paths.BUNDLE, None).version, (CHAMPION,))
    run = tracking_client().get_run(version.run_id)
    assert run.data.metrics["evaluate/gain at 2x"] == 1.4
    assert run.data.metrics["effective_throughput/augmentation-mix/h100/2x"] == 70.0
    stored = {path.name for path in Path(version.source.removeprefix("file://")).iterdir()}
    assert stored == {path.name for path in paths.BUNDLE.iterdir()}


def test_wrong_settings_or_missing_evaluation_keep_the_old_bundle(project: Path) -> None:
    before = load_bundle(paths.BUNDLE, None).version
    paths.TUNED_SETTINGS.write_text('{"slo": {}}')
    with pytest.raises(SettingsError, match=r"scheduler\.json"):
        package.main()
    paths.EVALUATION_METRICS.unlink()
    paths.TUNED_SETTINGS.write_text("not JSON")
    with pytest.raises(StageError, match=r"scheduler\.json"):
        package.main()
    assert load_bundle(paths.BUNDLE, None).version == before


def test_a_bundle_is_signed_before_it_is_registered(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Ed25519PrivateKey.generate()
    Path("key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv(package.SIGNING_KEY, "key.pem")
    package.main()
    trust = Trust(public_key=key.public_key().public_bytes_raw().hex())
    sources = [Path(version.source.removeprefix("file://")) for version in registered_versions(tracking_client())]
    for folder in (paths.BUNDLE, *sources):
        assert load_bundle(folder, None, trust)
