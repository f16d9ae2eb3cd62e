"""A scheduler version in MLflow: its run, with parameters, metrics and reports to compare by, and its alias."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...data.one_line import one_line
from ...models.registry import promotion
from ...models.registry.versions import (
    CHALLENGER,
    CHAMPION,
    ROLLED_BACK_TAG,
    Version,
    challenge,
    describe,
    present_champion,
    promote,
    register,
    registered_versions,
)
from ...models.serving.bundle import Bundle
from ...models.serving.settings import flat
from ..project import paths
from ..project.stage import StageError
from ..project.tracking import ExperimentRun, experiment_run, tracking_client

EXPERIMENT = "evaluation"
REPORTS = (paths.EVALUATION_REPORTS, paths.TUNING_REPORTS, paths.TRAINING_REPORTS)
LOCK = Path("dvc.lock")
HEADLINE = (
    promotion.METRIC,
    "session_effective_throughput",
    "steps_per_minute",
    "session_time_mean_s",
    "attainment",
    "ttft_p99_s",
    "longest_wait_s",
)
"""Metrics of AugServe's cells in the version's run, each as `metric/workload/profile/load`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule's decision on a version: an alias (None: no change) and the reasons, a summary first."""

    alias: str | None
    why: str


def register_bundle(bundle: Bundle, training: Mapping[str, Any], evaluation: Mapping[str, Any]) -> tuple[Version, str]:
    """Register the bundle, or log again to the version with the same bundle, and let the rule choose its alias.

    Returns the version and the rule's reasons. Raises StageError for an evaluation without a cell of AugServe.
    """
    if not any(True for _ in promotion.estimates(evaluation)):
        raise StageError(
            f"{paths.EVALUATION_METRICS}: no cell of policy {promotion.POLICY} in it; run `dvc repro evaluate`"
        )
    client = tracking_client()
    versions = registered_versions(client)
    tags = {"git_revision": bundle.manifest.git_revision, "vllm": bundle.manifest.vllm}
    tags |= {f"dvc.{path}": digest for path, digest in parent_data(LOCK).items()}
    version = next((entry for entry in versions if entry.bundle == bundle.version), None)
    if version is None:
        named = tags | {"kind": "scheduler version", "bundle": bundle.version}
        with experiment_run(EXPERIMENT, f"scheduler {bundle.version}", settings_of(bundle), named) as run:
            _log(run, bundle, training, evaluation)
            artifacts = client.get_run(run.id).info.artifact_uri
        version = register(client, bundle.version, run.id, f"{artifacts}/bundle", tags)
    else:
        _log(ExperimentRun(client, version.run_id), bundle, training, evaluation)
    decision = decide(client, version, present_champion(versions), evaluation)
    if decision.alias == CHAMPION:
        promote(client, version)
    elif decision.alias == CHALLENGER:
        challenge(client, version)
    if decision.alias is not None:
        describe(client, version, f"{decision.why}\n\n{_table(evaluation)}")
    return version, decision.why


def decide(client: Any, version: Version, champion: Version | None, evaluation: Mapping[str, Any]) -> Decision:
    """The rule: champion if no worse than the present champion on the report split, challenger otherwise."""
    if champion is None:
        return Decision(CHAMPION, "Champion: the first one.")
    if champion.number == version.number:
        return Decision(None, "Champion already.")
    if day := version.tags.get(ROLLED_BACK_TAG):
        return Decision(None, f"Rolled back on {day}: only `augserve rollback` makes it the champion again.")
    try:
        reasons = promotion.no_worse(evaluation, _evaluation_of(client, champion))
    except Exception as error:  # noqa: BLE001 - on any error the champion stays
        reasons = [
            f"its report cannot be read ({one_line(error, 200)}); decide by hand: `augserve rollback {version.number}`"
        ]
    if reasons:
        lines = "".join(f"\n- {reason}" for reason in reasons)
        return Decision(CHALLENGER, f"Challenger: version {champion.number} stays champion.\n{lines}")
    return Decision(CHAMPION, f"Champion: in no cell of the report split worse than version {champion.number}.")


def parent_data(lock: Path) -> dict[str, str]:
    """Path → DVC's hash of the stages' data and models; empty without a lock."""
    if not lock.is_file():
        return {}
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
    outs = [out for name, stage in stages.items() if name != "package" for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith(("data/", "models/")) and "md5" in out}


def settings_of(bundle: Bundle) -> dict[str, object]:
    """scheduler.json as flat parameters, which MLflow compares between versions."""
    return {"bundle": bundle.version} | flat(bundle.settings.to_json())


def headline(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """`metric/workload/profile/load` → value of AugServe's cells, and its capacity@90."""
    for (workload, profile, load), _ in promotion.estimates(evaluation):
        cell = evaluation[workload][profile][load][promotion.POLICY]
        for metric in HEADLINE:
            yield from numbers(cell.get(metric), f"{metric}/{workload}/{profile}/{load}")
    for workload, of_profile in evaluation.get("capacity90", {}).items():
        for profile, capacities in of_profile.items():
            yield from numbers(capacities.get(promotion.POLICY), f"capacity90/{workload}/{profile}")


def numbers(value: object, name: str) -> Iterator[tuple[str, float]]:
    """The numbers of nested objects, named by their paths."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{name}/{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def _log(run: ExperimentRun, bundle: Bundle, training: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
    run.log_metrics(
        dict(headline(evaluation))
        | dict(numbers(evaluation.get("summary", {}), "evaluate"))
        | dict(numbers(dict(training), "train"))
    )
    run.log_folder(bundle.path, "bundle")
    for folder in REPORTS:
        if folder.is_dir():
            run.log_folder(folder, str(folder))
    if paths.PAGE.is_file():
        run.log_file(paths.PAGE)
    run.log_inputs(parent_data(LOCK))


def _evaluation_of(client: Any, version: Version) -> Mapping[str, Any]:
    found = json.loads(
        Path(client.download_artifacts(version.run_id, str(paths.EVALUATION_METRICS))).read_text(encoding="utf-8")
    )
    return found if isinstance(found, dict) else {}


def _table(evaluation: Mapping[str, Any]) -> str:
    rows = [
        f"| {workload} | {profile} | {load} | {estimate.value:.1f} |\n"
        for (workload, profile, load), estimate in promotion.estimates(evaluation)
    ]
    return "| workload | engine | load | goodput, turns/s |\n|---|---|---|---:|\n" + "".join(rows)
