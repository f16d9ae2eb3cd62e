"""Signs a bundle with the operator's key (Ed25519, in a PEM file), so that a server can tell who made it."""

from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ...data.atomic import atomic_file
from ..serving.bundle import Bundle, load_bundle
from ..serving.manifest import MANIFEST
from ..serving.trust import Trust, signed_message

MAKE_KEY = "openssl genpkey -algorithm ed25519 -out key.pem"


class SigningError(ValueError):
    """A bundle cannot be signed; the message names the key's file, the cause and the remedy."""


def sign_bundle(path: Path, key_file: Path) -> tuple[Bundle, str]:
    """Sign the bundle in a folder in place; an earlier signature is replaced. Returns it, and the public key in
    hexadecimal. Raises BundleError or SigningError."""
    bundle, key = load_bundle(path, None), _read_key(key_file)
    signature = key.sign(signed_message(bundle.manifest)).hex()
    with atomic_file(path / MANIFEST) as temporary:
        temporary.write_bytes(replace(bundle.manifest, signature=signature).render())
    public_key = key.public_key().public_bytes_raw().hex()
    return load_bundle(path, None, Trust(public_key=public_key)), public_key


def _read_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:  # TypeError: it has a password
        raise SigningError(f"{path}: no private key without a password ({error}); make one: {MAKE_KEY}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path}: not a key for Ed25519; make one: {MAKE_KEY}")
    return key
