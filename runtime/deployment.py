"""What the operator asks for: `--additional-config '{"augserve": {…}}'`, validated once."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

KEY = "augserve"
MAX_GB = 10.0
MIN_GB = 0.1
"""Less would not hold the files that are being written and those that just have been."""
Mode = Literal["active", "shadow", "observe"]


class DeploymentError(ValueError):
    """The deployment's configuration is wrong; the message names the key, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Deployment:
    mode: Mode = "active"
    bundle: Path | None = None  # needed unless the mode is observe
    traces: Path | None = None  # folder that the recorder writes to; None: no recorder
    source: str = "live"  # the `source` column of the traces
    traces_max_gb: float = MAX_GB  # limit on the folder's recorded files; the oldest go first
    traces_text: bool = False  # whether the token ids of prompts and outputs are recorded
    allow_unknown_vllm: bool = False  # whether to start in a vLLM that AugServe was not tested with

    @property
    def traces_max_bytes(self) -> int:
        return round(self.traces_max_gb * 1e9)

    def bundle_folder(self) -> Path:
        """The bundle, for a mode that needs one. Raises DeploymentError where none is named or none is there."""
        if self.bundle is None:
            raise DeploymentError(
                f"additional_config: {KEY}.bundle is missing: mode {self.mode!r} needs one; name its folder"
            )
        if not self.bundle.is_dir():
            raise DeploymentError(f"additional_config: {KEY}.bundle: no such folder: {self.bundle}; correct the path")
        return self.bundle


def parse_deployment(additional_config: object) -> Deployment:
    """Read the `augserve` key of vLLM's `additional_config`.

    Raises DeploymentError for an unknown key, a wrong type or mode, and a trace folder that cannot be made.
    """
    section = additional_config.get(KEY) if isinstance(additional_config, Mapping) else None
    if not isinstance(section, Mapping):
        raise DeploymentError(
            f"additional_config: key {KEY!r} is missing or no object; "
            f"""start the server with --additional-config '{{"{KEY}": {{"bundle": "PATH"}}}}'"""
        )
    known = {field.name for field in dataclasses.fields(Deployment)}
    if unknown := sorted(set(map(str, section)) - known):
        raise DeploymentError(
            f"additional_config: unknown key {KEY}.{unknown[0]}; known are {', '.join(sorted(known))}"
        )
    for key, value in section.items():
        fits, wanted = _KINDS.get(key, _TEXT)
        if not fits(value):
            raise DeploymentError(f"additional_config: {KEY}.{key} is {value!r}: it must be {wanted}; correct it")
    if "traces" not in section and (idle := sorted({"traces_max_gb", "traces_text"} & set(section))):
        raise DeploymentError(
            f"additional_config: {KEY}.{idle[0]} is given, {KEY}.traces is not: nothing is recorded; name its folder"
        )
    mode = section.get("mode", "active")
    if mode not in get_args(Mode):
        raise DeploymentError(
            f"additional_config: {KEY}.mode is {mode!r}: it must be one of {', '.join(get_args(Mode))}"
        )
    traces = section.get("traces")
    return Deployment(
        mode=mode,
        bundle=Path(section["bundle"]) if "bundle" in section else None,
        traces=None if traces is None else _trace_folder(Path(traces)),
        source=section.get("source", "live"),
        traces_max_gb=float(section.get("traces_max_gb", MAX_GB)),
        traces_text=section.get("traces_text", False),
        allow_unknown_vllm=section.get("allow_unknown_vllm", False),
    )


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and MIN_GB <= value < math.inf


_Kind = tuple[Callable[[object], bool], str]
_TEXT: _Kind = (lambda value: isinstance(value, str) and value != "", "a non-empty string")
_FLAG: _Kind = (lambda value: isinstance(value, bool), "true or false")
_KINDS: Mapping[str, _Kind] = {
    "traces_max_gb": (_is_size, f"a number of gigabytes, {MIN_GB} or more"),
    "traces_text": _FLAG,
    "allow_unknown_vllm": _FLAG,
}


def _trace_folder(path: Path) -> Path:
    """Make the folder, but not its parents: a mistyped path is to be noticed."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise DeploymentError(
            f"additional_config: {KEY}.traces: cannot make the folder {path}: {error.strerror}; "
            "make its parent folder or correct the path"
        ) from error
    return path
