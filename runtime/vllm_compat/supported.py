"""Which releases of vLLM are supported. Needs no vLLM."""

from packaging.version import InvalidVersion, Version

TESTED = ("0.29.0", "0.30.0", "0.31.0", "0.32.0", "0.33.0")
"""Releases whose functions the contract test compares with what AugServe was written for."""
OLDEST, BELOW = Version("0.29"), Version("0.34")
OVERRIDE = "allow_unknown_vllm"
"""Key of the deployment that lets an unsupported version start."""
INSTALL = f"install vLLM >= {OLDEST}, < {BELOW}"


class UnsupportedVllmError(ValueError):
    """AugServe does not support this vLLM; the message names the difference and the remedy."""


def is_supported(version: str) -> bool:
    """Whether the version belongs to a supported release, pre-releases and local builds included."""
    try:
        return OLDEST <= Version(Version(version).base_version) < BELOW
    except InvalidVersion:
        return False
