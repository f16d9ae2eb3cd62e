import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from augserve.models.registry.signing import MAKE_KEY, SigningError, sign_bundle
from augserve.models.serving.bundle import BundleError, load_bundle
from augserve.models.serving.manifest import MANIFEST
from augserve.models.serving.trust import Trust


def key_file(
    path: Path,
    key: Ed25519PrivateKey | X25519PrivateKey | None = None,
    encryption: KeySerializationEncryption | None = None,
) -> Path:
    key = key or Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    return path


def refuse(bundle: Path, public_key: str, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(bundle, None, Trust(public_key=public_key))
    assert "\n" not in str(caught.value)


def test_a_signed_bundle_loads_with_the_right_key_alone(bundle: Path, tmp_path: Path) -> None:
    mine, other = key_file(tmp_path / "mine"), key_file(tmp_path / "other")
    before = load_bundle(bundle, None)
    signed, public_key = sign_bundle(bundle, mine)
    assert (signed.version, signed.settings) == (before.version, before.settings)
    assert signed.sha256 != before.sha256
    assert load_bundle(bundle, None, Trust(public_key=public_key)).manifest == signed.manifest
    load_bundle(bundle, None)
    _, of_other = sign_bundle(bundle, other)
    refuse(bundle, public_key, "signed with another key")
    assert load_bundle(bundle, None, Trust(public_key=of_other))
    assert sign_bundle(bundle, mine)[1] == public_key


def test_a_bundle_without_a_signature_does_not_load(bundle: Path) -> None:
    refuse(bundle, 32 * "0f", "manifest.json is not signed")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("abc123", "abc124"),
        lambda text: text.replace('"signature": "', '"signature": "00'),
        lambda text: text.replace('"signature": "', '"signature": "zz'),
    ],
)
def test_a_manifest_that_was_changed_since_does_not_load(
    bundle: Path, tmp_path: Path, change: Callable[[str], str]
) -> None:
    from ..serving.test_bundle import forge

    _, public_key = sign_bundle(bundle, key_file(tmp_path / "key"))
    text = (bundle / MANIFEST).read_text()
    assert change(text) != text
    (bundle / MANIFEST).write_text(change(text))
    forge(bundle, lambda _: None)  # with the right checksum
    refuse(bundle, public_key, "or was changed since")


def test_a_public_key_that_is_none_is_one_line(bundle: Path, tmp_path: Path) -> None:
    sign_bundle(bundle, key_file(tmp_path / "key"))
    refuse(bundle, "0f", "another key")


def test_an_unusable_key_is_one_line_that_names_the_file(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key")
    key_file(tmp_path / "locked", encryption=BestAvailableEncryption(b"secret"))
    key_file(tmp_path / "other kind", X25519PrivateKey.generate())
    before = (bundle / MANIFEST).read_bytes()
    for name in ("missing", "text", "locked", "other kind"):
        with pytest.raises(SigningError, match=name) as caught:
            sign_bundle(bundle, tmp_path / name)
        assert "\n" not in str(caught.value)
    assert (bundle / MANIFEST).read_bytes() == before


def test_the_command_for_a_key_makes_one_that_signs(bundle: Path, tmp_path: Path) -> None:
    try:
        subprocess.run(MAKE_KEY.split(), cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    sign_bundle(bundle, tmp_path / "key.pem")
