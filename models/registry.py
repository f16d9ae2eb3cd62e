"""MLflow's model registry: a bundle as a version of one registered model."""

import contextlib
from collections.abc import Mapping
from typing import Any

REGISTERED_MODEL = "augserve-scheduler"
BUNDLE_TAG = "augserve.bundle"


def registered_version(client: Any, bundle_version: str) -> str | None:
    """Number of the registered version that holds this bundle; None: not registered."""
    for found in client.search_model_versions(f"name = '{REGISTERED_MODEL}'"):
        if found.tags.get(BUNDLE_TAG) == bundle_version:
            return str(found.version)
    return None


def register(client: Any, bundle_version: str, run_id: str, artifact_uri: str, tags: Mapping[str, str]) -> str:
    """Register what a run keeps at `artifact_uri` as a new version; gives its number."""
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # it is there already
        client.create_registered_model(REGISTERED_MODEL, description="AugServe's scheduler bundles")
    version = client.create_model_version(
        REGISTERED_MODEL, artifact_uri, run_id=run_id, tags={BUNDLE_TAG: bundle_version} | dict(tags)
    )
    return str(version.version)
