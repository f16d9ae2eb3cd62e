"""The operator's configuration, `--additional-config '{"augserve": {…}}'`, validated once.

Modes: `active` decides and applies; `shadow` decides, counts what it would do, and leaves vLLM's behaviour; `observe`
needs no bundle and only records traces.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from ..models.serving.settings import SchedulerSettings, SettingsError
from ..models.serving.trust import Trust

logger = logging.getLogger(f"vllm.{__name__}")

KEY = "augserve"
MIDDLEWARE = "augserve.runtime.AugServeMiddleware"
MAX_GB = 10.0
MIN_GB = 0.1
"""A smaller limit would not hold the files that are being written."""

NEEDED: Final = {
    "bundle_public_key": "bundle",
    "bundle_sha256": "bundle",
    "settings": "bundle",
    "registry": "bundle",
    "candidate": "bundle",
    "share": "candidate",
    "alias": "registry",
    "poll_s": "registry",
    "traces_max_gb": "traces",
    "traces_max_days": "traces",
    "traces_text": "traces",
}
"""Keys without effect where another one is missing."""


class DeploymentError(ValueError):
    """The configuration is wrong; the message names the key, the cause and the remedy."""


def _named(path: object) -> object:
    if path == "":
        raise ValueError("it must name a folder")
    return path


def _server(address: str) -> str:
    parts = urlsplit(address)
    is_here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and is_here)):
        raise ValueError("it must be the address of a server, with https:// unless it is on this host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials belong in MLFLOW_TRACKING_USERNAME and _PASSWORD, not in a logged address")
    return address


Folder = Annotated[Path, Strict(False), BeforeValidator(_named)]


class Deployment(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    mode: Literal["active", "shadow", "observe"] = "active"  # apply decisions, count them only, or record only
    bundle: Folder | None = None  # needed unless the mode is observe
    bundle_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = (
        None  # sha256 of the bundle's manifest.json; another bundle is refused
    )
    bundle_public_key: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = (
        None  # Ed25519 key with which the bundle must be signed, see `augserve sign`
    )
    settings: Mapping[str, Any] = {}  # values in place of those of the bundle's scheduler.json, by dotted names
    registry: Annotated[str, AfterValidator(_server)] | None = (
        None  # address of an MLflow server, from which new bundles come into the bundle's folder
    )
    alias: Annotated[str, Field(min_length=1)] = "champion"  # which version of the registry is followed
    poll_s: Annotated[float, Field(ge=1, le=86400)] = 60.0  # time between two looks at the registry
    candidate: Folder | None = None  # folder of a second bundle, which forecasts for a share of the sessions
    share: Annotated[float, Field(gt=0, le=0.5)] = 0.1  # of the sessions, for the candidate
    traces: Folder | None = None  # folder of the recorded traces; None: nothing is recorded
    source: Annotated[str, Field(min_length=1)] = "live"  # the `source` column of the traces
    traces_max_gb: Annotated[float, Field(ge=MIN_GB, allow_inf_nan=False)] = (
        MAX_GB  # limit on the recorded files; the oldest are deleted first
    )
    traces_max_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] = (
        30.0  # age at which recorded files are deleted
    )
    traces_text: bool = False  # whether to record the token ids of prompts and outputs
    refuse_after_s: Annotated[float, Field(gt=0, le=86400)] | None = (
        None  # expected wait beyond which a new session gets 429; needs the middleware; None: nothing is refused
    )
    session_headers: Mapping[str, str] = {}  # headers that name sessions, each with that of the parent or "", first
    allow_unknown_vllm: bool = False  # whether to start in a vLLM that AugServe was not tested with

    @property
    def trust(self) -> Trust:
        return Trust(self.bundle_sha256, self.bundle_public_key)

    @property
    def of_candidate(self) -> Self:
        """The deployment with the candidate in the bundle's place."""
        return self.model_copy(update={"bundle": self.candidate})

    @property
    def overrides(self) -> str:
        """The changed settings as text."""
        return ", ".join(f"{name}={value}" for name, value in sorted(self.settings.items()))

    @property
    def traces_max_bytes(self) -> int:
        return round(self.traces_max_gb * 1e9)

    def bundle_folder(self) -> Path:
        """The bundle of a mode that needs one. Raises DeploymentError if none is named or the folder is missing."""
        if self.bundle is None:
            raise _error("bundle", f" is missing: mode {self.mode!r} needs one", "name its folder")
        if not self.bundle.is_dir():
            raise _error("bundle", f": no such folder: {self.bundle}", "correct the path")
        return self.bundle


def parse_deployment(additional_config: object) -> Deployment:
    """Read the `augserve` key of vLLM's `additional_config`, and make the folder of the traces.

    Raises DeploymentError as `read_deployment` does, and for a folder that cannot be made.
    """
    deployment = read_deployment(additional_config)
    if deployment.traces is not None:
        _make_folder(deployment.traces)
    return deployment


def read_deployment(additional_config: object) -> Deployment:
    """Read the `augserve` key of vLLM's `additional_config`.

    Raises DeploymentError for an unknown key, a wrong value, or keys without effect.
    """
    section = additional_config.get(KEY) if isinstance(additional_config, Mapping) else None
    if not isinstance(section, Mapping):
        raise DeploymentError(
            f"additional_config: key {KEY!r} is missing or not an object; "
            f"""start the server with --additional-config '{{"{KEY}": {{"bundle": "PATH"}}}}'"""
        )
    try:
        deployment = Deployment.model_validate(dict(section))
    except ValidationError as error:
        raise _first_error(error) from None
    for key in sorted(NEEDED.keys() & deployment.model_fields_set):
        if getattr(deployment, needed := NEEDED[key]) is None:
            raise _error(key, f" has no effect without {KEY}.{needed}", f"set {KEY}.{needed} or remove it")
    for key in ("registry", "candidate"):
        if getattr(deployment, key) is not None and deployment.bundle_sha256 is not None:
            raise _error(key, f" brings no bundle but that of {KEY}.bundle_sha256", "remove one of them")
    try:
        SchedulerSettings().overridden(deployment.settings)
    except SettingsError as error:
        raise _error("settings", f": {error}", "correct it") from None
    if deployment.mode == "observe" and deployment.refuse_after_s is not None:
        raise _error("refuse_after_s", " has no effect in mode 'observe'", "choose another mode or remove it")
    return deployment


def warn_of_split_sessions() -> None:
    """To be called where vLLM may send the turns of one session to different engines."""
    logger.warning(
        "AugServe: data parallelism sends the turns of a session to different engines, so pauses are misjudged and "
        "contexts kept in vain; add --middleware %s and name sessions by a header",
        MIDDLEWARE,
    )


def check_api_servers(deployment: Deployment, count: int) -> None:
    """Raises DeploymentError where turns are refused and several API servers would each know some of the sessions."""
    if deployment.refuse_after_s is not None and count > 1:
        cause = f": {count} API servers do not share the sessions that they know"
        raise _error("refuse_after_s", cause, "start vLLM with --api-server-count 1 or remove it")


def _error(key: str, cause: str, remedy: str) -> DeploymentError:
    return DeploymentError(f"additional_config: {KEY}.{key}{cause}; {remedy}")


def _first_error(error: ValidationError) -> DeploymentError:
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")  # a misspelt key explains the rest
    key, value = str(first["loc"][0]), first["input"]
    if first["type"] == "extra_forbidden":
        return _error(key, " is unknown", f"known keys are {', '.join(sorted(Deployment.model_fields))}")
    message = first["msg"].removeprefix("Value error, ")
    return _error(key, f" is {value!r}: {message[0].lower()}{message[1:]}", "correct it")


def _make_folder(path: Path) -> None:
    """Make the folder but not its parents, so that a mistyped path is noticed."""
    try:
        path.mkdir(0o700, exist_ok=True)
    except OSError as error:
        cause = f": cannot make the folder {path}: {error.strerror}"
        raise _error("traces", cause, "make its parent folder or correct the path") from error
