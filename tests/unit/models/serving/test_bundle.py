import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augserve.models.serving.bundle import BundleError, Provenance, load_bundle, write_bundle
from augserve.models.serving.manifest import Manifest, vllm_range
from augserve.models.serving.onnx_predictor import OnnxPredictor, model_files
from augserve.models.serving.settings import SchedulerSettings
from augserve.models.serving.target import OUTPUT_LENGTH
from augserve.models.serving.trust import Trust

from ....damage import damaged

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def forge(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and update its checksum."""
    value = json.loads((bundle / "manifest.json").read_text())
    del value["checksum"]
    change(value)
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    value["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def refuse(bundle: Path, message: str, vllm: str | None = "0.32.0") -> None:
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(bundle, vllm)
    assert str(bundle) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bundle_round_trip(bundle: Path, onnx_folder: Path, provenance: Provenance) -> None:
    loaded = load_bundle(bundle, "0.32.0")
    assert loaded.settings == SchedulerSettings()
    assert loaded.version == loaded.manifest.version
    assert loaded.version.startswith("20261123-")
    assert (loaded.manifest.git_revision, loaded.manifest.training) == ("abc123", provenance.training)
    rows = np.full((1, len(OUTPUT_LENGTH.features)), np.nan, np.float32)
    expected = OnnxPredictor.load(onnx_folder).turns(rows).output_length
    np.testing.assert_array_equal(loaded.predictor.turns(rows).output_length, expected)


def test_version_depends_on_the_content(onnx_folder: Path, provenance: Provenance, tmp_path: Path) -> None:
    same = [write_bundle(tmp_path / name, onnx_folder, SchedulerSettings(), provenance, NOW).version for name in "ab"]
    other = write_bundle(tmp_path / "c", onnx_folder, SchedulerSettings(max_wait_s=9.0), provenance, NOW).version
    assert same[0] == same[1] != other


@pytest.mark.fuzz
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_error_names_the_file_with_a_flipped_bit(bundle: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(entry.name for entry in bundle.iterdir())))
    original = (bundle / name).read_bytes()
    at, bit = data.draw(st.integers(0, len(original) - 1)), data.draw(st.integers(0, 7))
    damaged = bytearray(original)
    damaged[at] ^= 1 << bit
    (bundle / name).write_bytes(damaged)
    try:
        refuse(bundle, name.replace(".", r"\."))
    finally:
        (bundle / name).write_bytes(original)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", ["manifest.json", "scheduler.json", "drift.json"])
@given(data=st.data())
@settings(max_examples=settings().max_examples // 5, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_with_right_checksums_is_refused_or_loaded(bundle: Path, name: str, data: st.DataObject) -> None:
    original = {path.name: path.read_bytes() for path in bundle.iterdir()}
    sound = {key: value for key, value in json.loads(original[name]).items() if key != "checksum"}
    value = data.draw(damaged(sound))
    try:
        if name == "manifest.json" and isinstance(value, dict):
            forge(bundle, lambda manifest: (manifest.clear(), manifest.update(value)))
        else:
            (bundle / name).write_text(json.dumps(value))
        if name != "manifest.json":
            digest = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
            forge(bundle, lambda manifest: manifest["files"].update({name: digest}))
        with contextlib.suppress(BundleError):
            load_bundle(bundle, "0.32.0")
    finally:
        for each, content in original.items():
            (bundle / each).write_bytes(content)


@pytest.mark.parametrize("name", ["manifest.json", "scheduler.json", "turns.onnx", "drift.json"])
def test_error_names_a_missing_file(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    refuse(bundle, name)


@pytest.mark.parametrize("name", ["notes.txt", "model.pkl", "more.onnx"])
def test_error_names_an_extra_file(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"x")
    refuse(bundle, name)


def test_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "scheduler.json").rename(tmp_path / "elsewhere.json")
    (bundle / "scheduler.json").symlink_to(tmp_path / "elsewhere.json")
    refuse(bundle, r"scheduler\.json")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_one_line(bundle: Path, number: float) -> None:
    forge(bundle, lambda value: value.update(training={"mae": number}))
    refuse(bundle, r"manifest\.json is damaged")


def test_a_bundle_is_pinned_by_the_hash_of_its_manifest(bundle: Path) -> None:
    pinned = load_bundle(bundle, None).sha256
    assert load_bundle(bundle, None, Trust(sha256=pinned)).sha256 == pinned
    forge(bundle, lambda value: value.update(git_revision="forged"))
    load_bundle(bundle, None)
    with pytest.raises(BundleError, match=r"manifest\.json has the sha256"):
        load_bundle(bundle, None, Trust(sha256=pinned))


def test_a_file_of_a_great_size_is_refused_unread(bundle: Path) -> None:
    with (bundle / "turns.onnx").open("r+b") as file:
        file.truncate(1 << 40)  # a hole: it takes no room on the disk
    refuse(bundle, r"turns\.onnx has 1099511627776 bytes")


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere", "nowhere")


@pytest.mark.parametrize("name", ["../secret.onnx", "/etc/passwd.json", "a/b.onnx", "model.pkl", ".hidden.json"])
def test_unsafe_file_name_is_refused(bundle: Path, name: str) -> None:
    forge(bundle, lambda value: value["files"].update({name: "0" * 64}))
    refuse(bundle, "manifest.json lists")


def test_manifest_with_other_files_is_refused(bundle: Path) -> None:
    forge(bundle, lambda value: value["files"].pop("scheduler.json"))
    refuse(bundle, r"scheduler\.json")


def test_other_feature_names_are_refused(bundle: Path) -> None:
    forge(bundle, lambda value: value["features"]["output_length"].reverse())
    refuse(bundle, "output_length")


def test_another_feature_version_is_refused(bundle: Path) -> None:
    forge(bundle, lambda value: value.update(features_version=99))
    refuse(bundle, "features of version 99")


@pytest.mark.parametrize(
    "number",
    [3, 1, 0, "2", True],
)
def test_another_format_is_refused(bundle: Path, number: object) -> None:
    forge(bundle, lambda value: value.update(format=number))
    refuse(bundle, f"format {number!r}")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"a": 1}', b"null"])
def test_a_file_without_a_manifest_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    refuse(bundle, r"manifest\.json")


def test_manifest_with_extra_or_missing_key_is_refused(bundle: Path) -> None:
    forge(bundle, lambda value: value.update(color="red"))
    refuse(bundle, "color")
    forge(bundle, lambda value: (value.pop("color"), value.pop("vllm"))[0])
    refuse(bundle, "vllm")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scheduler.json", b"not JSON"),
        ("scheduler.json", b"[1]"),
        ("scheduler.json", b'{"slo": {}}'),
        ("turns.onnx", b"no"),
        ("drift.json", b"{}"),
    ],
)
def test_invalid_content_with_a_valid_checksum_is_refused(bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)
    forge(bundle, lambda value: value["files"].update({name: hashlib.sha256(content).hexdigest()}))
    refuse(bundle, name.replace(".", r"\."))


@pytest.mark.parametrize("version", ["0.29.0", "0.32.0", "0.32.1+cpu", "0.32.2.dev3"])
def test_vllm_in_range_is_accepted(bundle: Path, version: str) -> None:
    assert load_bundle(bundle, version).version


@pytest.mark.parametrize("version", ["0.28.1", "0.33.0", "1.0", "0.33.0rc1", "dev", ""])
def test_vllm_out_of_range_is_refused(bundle: Path, version: str) -> None:
    refuse(bundle, r"package\.vllm_range", version)


def test_without_a_vllm_version_the_range_is_not_checked(bundle: Path) -> None:
    assert load_bundle(bundle, None).manifest.vllm == ">=0.29,<0.33"


def test_a_text_without_a_version_range_is_refused() -> None:
    with pytest.raises(BundleError, match=r"about 0\.30"):
        vllm_range("about 0.30")


def test_failed_write_keeps_the_old_bundle(
    bundle: Path, onnx_folder: Path, provenance: Provenance, tmp_path: Path
) -> None:
    before = load_bundle(bundle, None).version
    broken = Path(shutil.copytree(onnx_folder, tmp_path / "broken"))
    (broken / model_files()[0]).write_bytes(b"no model")
    with pytest.raises(BundleError, match=model_files()[0]):
        write_bundle(bundle, broken, SchedulerSettings(max_wait_s=5.0), provenance, NOW)
    assert load_bundle(bundle, None).version == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["broken", "bundle"]


def test_manifest_round_trip(bundle: Path) -> None:
    content = (bundle / "manifest.json").read_bytes()
    assert Manifest.parse(content).render() == content


def test_loading_imports_no_training_library(bundle: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from augserve.models.serving.bundle import load_bundle;"
        f"load_bundle(Path({str(bundle)!r}), None);"
        "print([m for m in ('xgboost', 'pandas', 'mlflow', 'onnx', 'scipy', 'vllm', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
