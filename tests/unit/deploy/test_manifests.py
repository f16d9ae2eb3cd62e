"""What the compose file and the manifests name exists, and AugServe reads the configuration that they pass."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from augserve.pipeline.operate.before_start import MIDDLEWARE, SCHEDULER
from augserve.runtime.deployment import read_deployment

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
RESOURCES: list[dict[str, Any]] = [
    resource
    for name in yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    for resource in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())
]


def pods() -> dict[str, dict[str, Any]]:
    """Pod specifications by kind."""
    found = {}
    for resource in RESOURCES:
        if resource["kind"] == "Deployment":
            found["Deployment"] = resource["spec"]["template"]["spec"]
        elif resource["kind"] == "CronJob":
            found["CronJob"] = resource["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize(
    "arguments",
    [COMPOSE["services"]["vllm"]["command"], pods()["Deployment"]["containers"][0]["args"]],
    ids=["compose", "kubernetes"],
)
def test_the_server_s_arguments_plug_augserve_in(arguments: list[str]) -> None:
    options = dict(argument.split("=", 1) for argument in arguments if argument.startswith("--"))
    assert options["--scheduler-cls"] == SCHEDULER
    assert options["--middleware"] == MIDDLEWARE
    deployment = read_deployment(json.loads(options["--additional-config"]))
    assert str(deployment.bundle) == "/bundles/current"
    assert str(deployment.traces) == "/traces/live"


@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_each_mount_has_its_volume_and_each_claim_its_storage(kind: str) -> None:
    claims = {resource["metadata"]["name"] for resource in RESOURCES if resource["kind"] == "PersistentVolumeClaim"}
    volumes = {volume["name"]: volume for volume in pods()[kind]["volumes"]}
    (container,) = pods()[kind]["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    claimed = [volume["persistentVolumeClaim"] for volume in volumes.values() if "persistentVolumeClaim" in volume]
    assert {claim["claimName"] for claim in claimed} == claims


def test_the_server_has_all_three_probes_on_its_port_and_no_token() -> None:
    (container,) = pods()["Deployment"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    assert all(pod["automountServiceAccountToken"] is False for pod in pods().values())
    assert not any(resource["kind"].endswith(("Role", "RoleBinding")) for resource in RESOURCES)


def test_each_file_that_compose_mounts_exists() -> None:
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), source
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"]
    built = COMPOSE["services"]["vllm"]["build"]
    assert (DEPLOY / built["context"] / built["dockerfile"]).is_file()


def test_grafana_is_given_the_dashboard_where_it_looks_for_it() -> None:
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/augserve.yaml").read_text())["providers"][0]
    mounted = [volume.split(":")[1] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/augserve.json" in mounted
