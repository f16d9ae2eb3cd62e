"""Reading a registry by its URI: a server over plain HTTP, which needs no MLflow here, or a store through MLflow."""

import base64
import http.client
import json
import os
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .versions import BUNDLE_TAG, REGISTERED_MODEL, RegistryError, Version, registered_versions

TIMEOUT_S = 30
_SQLITE = "sqlite:///"
_REMEDY = "start it, or correct --registry or MLFLOW_TRACKING_URI"
Answer = TypeVar("Answer")


class RegistrySource(Protocol):
    """What a registry holds, to be read. Every method raises RegistryError."""

    def versions(self) -> list[Version]:
        """All registered versions, the oldest first."""
        ...

    def read(self, version: Version, name: str) -> bytes:
        """The file `name` of a version's bundle."""
        ...


def open_source(uri: str) -> RegistrySource:
    """The registry at an http(s) URL, or at a database's URI. Raises RegistryError."""
    return HttpSource(uri.rstrip("/")) if uri.startswith(("http://", "https://")) else StoreSource(uri)


def open_client(uri: str) -> Any:
    """MLflow's client on the registry at `uri`. Raises RegistryError where it is not there, or MLflow is not."""
    if uri.startswith(_SQLITE):
        path = Path(uri.removeprefix(_SQLITE).partition("?")[0])
        if not path.is_file():  # MLflow would make an empty one
            raise RegistryError(f"registry {uri}: no such file; run `dvc repro package`, or name another --registry")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise RegistryError(
            f"registry {shown(uri)}: reading it needs MLflow, which is not installed here; "
            "name the http:// URL of an MLflow server, or pip install 'mlflow>=3.17,<3.18'"
        ) from error
    return _reached(uri, lambda: MlflowClient(tracking_uri=uri, registry_uri=uri))


def shown(uri: str) -> str:
    """A URI without the name and password in it."""
    return re.sub(r"//[^@/]*@", "//", uri)


class StoreSource:
    """Through MLflow's client: sqlite and other databases."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client = open_client(uri)

    def versions(self) -> list[Version]:
        return _reached(self._uri, lambda: registered_versions(self._client))

    def read(self, version: Version, name: str) -> bytes:
        from mlflow.artifacts import download_artifacts

        with tempfile.TemporaryDirectory() as scratch:
            try:
                found = download_artifacts(
                    artifact_uri=f"{version.source}/{name}", dst_path=scratch, tracking_uri=self._uri
                )
                return Path(found).read_bytes()
            except Exception as error:  # each kind of artifact store has errors of its own
                raise _missing(version, name, error) from error


class HttpSource:
    """Through an MLflow server's REST interface and its route for artifacts of versions."""

    def __init__(self, url: str) -> None:
        self._url = url

    def versions(self) -> list[Version]:
        try:
            aliases = {
                alias["alias"]: int(alias["version"])
                for model in self._search("registered-models", "registered_models")
                for alias in model.get("aliases", [])
            }
            found = [_version(entry, aliases) for entry in self._search("model-versions", "model_versions")]
        except urllib.error.HTTPError as error:
            raise RegistryError(
                f"registry {shown(self._url)}: {_cause(error)}; is it an MLflow server? Correct --registry, or "
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            ) from error
        except (LookupError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise RegistryError(
                f"registry {shown(self._url)}: answers otherwise than an MLflow server; correct --registry"
            ) from error
        return sorted(found, key=lambda version: version.number)

    def _search(self, kind: str, key: str) -> Iterator[Mapping[str, Any]]:
        query = {"filter": f"name = '{REGISTERED_MODEL}'", "max_results": "1000"}
        while True:
            page = json.loads(self._get(f"api/2.0/mlflow/{kind}/search", query))
            yield from page.get(key, [])
            if not (token := page.get("next_page_token")):
                return
            query["page_token"] = token

    def read(self, version: Version, name: str) -> bytes:
        query = {"name": REGISTERED_MODEL, "version": str(version.number), "path": name}
        try:
            return self._get("model-versions/get-artifact", query)
        except urllib.error.HTTPError as error:
            raise _missing(version, name, error) from error

    def _get(self, path: str, query: Mapping[str, str]) -> bytes:
        """Raises HTTPError as it comes, and RegistryError where no server answers."""
        try:
            request = urllib.request.Request(  # noqa: S310 - http or https: see open_source
                f"{self._url}/{path}?{urllib.parse.urlencode(query)}", headers=_authorization()
            )
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return bytes(answer.read())
        except urllib.error.HTTPError:
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            cause = f"cannot be reached ({_cause(error)}); {_REMEDY}"
            raise RegistryError(f"registry {shown(self._url)}: {cause}") from error


def _authorization() -> dict[str, str]:
    """MLflow's own environment variables."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


def _version(entry: Mapping[str, Any], aliases: Mapping[str, int]) -> Version:
    tags = {tag["key"]: tag.get("value", "") for tag in entry.get("tags", [])}
    return Version(
        number=int(entry["version"]),
        bundle=tags.get(BUNDLE_TAG, ""),
        aliases=tuple(sorted(alias for alias, number in aliases.items() if number == int(entry["version"]))),
        created=datetime.fromtimestamp(int(entry["creation_timestamp"]) / 1000, UTC),
        description=entry.get("description", ""),
        run_id=entry.get("run_id", ""),
        source=entry.get("source", ""),
        tags=tags,
    )


def _reached(uri: str, call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except RegistryError:
        raise
    except Exception as error:  # drivers of databases have errors of their own
        raise RegistryError(f"registry {shown(uri)}: cannot be read ({_cause(error)}); {_REMEDY}") from error


def _missing(version: Version, name: str, error: Exception) -> RegistryError:
    return RegistryError(
        f"version {version.number} of {REGISTERED_MODEL}: {name} cannot be fetched ({_cause(error)}); "
        "take another version, or register it anew with `dvc repro package`"
    )


def _cause(error: Exception) -> str:
    """In one short line."""
    reason = getattr(error, "reason", None)
    return shown(" ".join(str(reason or error).split()))[:200] or type(error).__name__
