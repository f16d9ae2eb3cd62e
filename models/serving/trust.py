"""Which bundles an operator trusts: one by its hash, or all that are signed with the operator's key."""

import hashlib
from dataclasses import dataclass, replace

from .manifest import MANIFEST, BundleError, Manifest

PURPOSE = b"augserve bundle\n"
"""Begins each signed message, so that a key's signatures for other purposes are no signatures of bundles."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What a manifest must be; it has the hashes of all other files. Without either, any bundle is trusted."""

    sha256: str | None = None  # of the manifest, in hexadecimal
    public_key: str | None = None  # Ed25519, 32 bytes in hexadecimal

    def check(self, rendered: bytes, manifest: Manifest) -> None:
        """`rendered`: the manifest's bytes. Raises BundleError."""
        found = hashlib.sha256(rendered).hexdigest()
        if self.sha256 is not None and found != self.sha256:
            raise BundleError(
                f"{MANIFEST} has the sha256 {found}, expected is {self.sha256}; correct the path or bundle_sha256"
            )
        if self.public_key is not None:
            _check_signature(manifest, self.public_key)


def signed_message(manifest: Manifest) -> bytes:
    """What a manifest's signature signs: all of it but the signature."""
    return PURPOSE + replace(manifest, signature="").render()


def _check_signature(manifest: Manifest, public_key: str) -> None:
    remedy = "sign it with `augserve sign`, or correct bundle_public_key"
    if not manifest.signature:
        raise BundleError(f"{MANIFEST} is not signed; {remedy}")
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise BundleError("bundle_public_key needs the package cryptography; install it") from error
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(manifest.signature), signed_message(manifest))
    except (InvalidSignature, ValueError) as error:
        raise BundleError(f"{MANIFEST} is signed with another key, or was changed since; {remedy}") from error
