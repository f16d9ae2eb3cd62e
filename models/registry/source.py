"""Access to a registry by its URI, through MLflow's client: the URL of an MLflow server, or a database.

A server needs the extra `augserve[registry]` here (mlflow-skinny), a database the whole of MLflow.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...data.one_line import one_line
from .server import ServerReader
from .versions import REGISTERED_MODEL, RegistryError, Version, registered_versions

_SQLITE = "sqlite:///"
_ARTIFACT_ROUTE = "/model-versions/get-artifact"  # of a server: it serves stores that only the server can reach
_THIS_HOST = ("localhost", "127.0.0.1", "::1")
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",  # they would take the credentials to another place
}


class Registry:
    """The registered versions and their bundles' files. Every method raises RegistryError."""

    def __init__(self, uri: str, plain_http: bool = False) -> None:
        """`plain_http`: whether a server on another host may be asked without TLS."""
        self._uri = uri.rstrip("/") if _is_server(uri) else uri
        if not plain_http and uri.startswith("http://") and urlsplit(uri).hostname not in _THIS_HOST:
            raise RegistryError(
                f"registry {without_credentials(uri)}: without TLS whoever is on the way reads tokens and changes "
                "bundles; name an https:// address, or allow it with --plain-http"
            )
        self.client = _open_client(self._uri)
        self._server = ServerReader(self._uri) if _is_server(uri) else None

    def versions(self) -> list[Version]:
        """All registered versions, the oldest first."""
        try:
            return registered_versions(self._server or self.client)
        except Exception as error:  # database drivers and HTTP have errors of their own
            raise _unreadable(self._uri, error) from error

    def read(self, version: Version, name: str) -> bytes:
        """The file `name` of a version's bundle."""
        try:
            return self._fetch(version, name)
        except Exception as error:  # each kind of artifact store has errors of its own
            raise RegistryError(
                f"version {version.number} of {REGISTERED_MODEL}: {name} cannot be fetched ({_cause(error)}); "
                "take another version, or register it anew with `dvc repro package`"
            ) from error

    def _fetch(self, version: Version, name: str) -> bytes:
        if self._server is not None:
            query = {"name": REGISTERED_MODEL, "version": str(version.number), "path": name}
            return self._server.get(_ARTIFACT_ROUTE, query)
        from mlflow.artifacts import download_artifacts

        with tempfile.TemporaryDirectory() as folder:
            source = f"{version.source}/{name}"
            return Path(download_artifacts(source, dst_path=folder, tracking_uri=self._uri)).read_bytes()


def without_credentials(uri: str) -> str:
    """A URI without the user name and password in it."""
    return re.sub(r"//[^@/]*@", "//", uri)


def _open_client(uri: str) -> Any:
    path = Path(uri.removeprefix(_SQLITE).partition("?")[0])
    if uri.startswith(_SQLITE) and not path.is_file():  # MLflow would create an empty one
        raise RegistryError(f"registry {uri}: no such file; run `dvc repro package`, or name another --registry")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise RegistryError(
            f"registry {without_credentials(uri)}: MLflow's client is not installed; pip install 'augserve[registry]'"
        ) from error
    try:
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except Exception as error:
        raise _unreadable(uri, error) from error


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _unreadable(uri: str, error: Exception) -> RegistryError:
    remedy = "start the server or correct its address (--registry, MLFLOW_TRACKING_URI or augserve.registry)"
    if _is_server(uri):
        remedy += "; credentials: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    return RegistryError(f"registry {without_credentials(uri)}: cannot be read ({_cause(error)}); {remedy}")


def _cause(error: Exception) -> str:
    """The error's text in one short line."""
    return without_credentials(one_line(error))[:200]  # cut last: half an address would keep its password
