"""A scheduler version in MLflow: its run, with all that versions are compared by, and the alias the rule gives it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

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
from ..project.stage import StageError
from ..project.tracking import Run, experiment_run, tracking_client

EXPERIMENT = "evaluation"
EVALUATION = Path("reports/evaluate/metrics.json")
REPORTS = (Path("reports/evaluate"), Path("reports/tune"), Path("reports/train"))
PAGE = Path("reports/index.html")
LOCK = Path("dvc.lock")
HEADLINE = (promotion.METRIC, "session_effective_throughput", "attainment", "ttft_p99_s", "longest_wait_s")
"""Metrics of AugServe's cells that stand in the version's run, each as `metric/workload/profile/load`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rule made of a version: an alias (None: as it was), and why, the first line in short."""

    alias: str | None
    why: str


def register_bundle(bundle: Bundle, training: Mapping[str, Any], evaluation: Mapping[str, Any]) -> tuple[Version, str]:
    """Register the bundle, or log anew to the version that holds it, and let the rule choose its alias.

    Gives the version and what the rule said. Raises StageError where the evaluation holds no cell of AugServe.
    """
    if not any(True for _ in promotion.estimates(evaluation)):
        raise StageError(f"{EVALUATION}: no cell of policy {promotion.POLICY} in it; run `dvc repro evaluate`")
    client = tracking_client()
    versions = registered_versions(client)
    tags = {"git_revision": bundle.manifest.git_revision, "vllm": bundle.manifest.vllm}
    tags |= {f"dvc.{path}": digest for path, digest in parent_data(LOCK).items()}
    version = next((found for found in versions if found.bundle == bundle.version), None)
    if version is None:
        named = tags | {"kind": "scheduler version", "bundle": bundle.version}
        with experiment_run(EXPERIMENT, f"scheduler {bundle.version}", settings_of(bundle), named) as run:
            _log(run, bundle, training, evaluation)
            artifacts = client.get_run(run.id).info.artifact_uri
        version = register(client, bundle.version, run.id, f"{artifacts}/bundle", tags)
    else:
        _log(Run(client, version.run_id), bundle, training, evaluation)
    decision = decide(client, version, present_champion(versions), evaluation)
    if decision.alias == CHAMPION:
        promote(client, version)
    elif decision.alias == CHALLENGER:
        challenge(client, version)
    if decision.alias is not None:
        describe(client, version, f"{decision.why}\n\n{_table(evaluation)}")
    return version, decision.why


def decide(client: Any, version: Version, champion: Version | None, evaluation: Mapping[str, Any]) -> Decision:
    """The rule: champion where it is no worse than the present champion on the report split, challenger otherwise."""
    if champion is None:
        return Decision(CHAMPION, "Champion: there was none before.")
    if champion.number == version.number:
        return Decision(None, "Champion, as before.")
    if day := version.tags.get(ROLLED_BACK_TAG):
        return Decision(None, f"Rolled back on {day}: no rule makes it the champion again.")
    try:
        reasons = promotion.no_worse(evaluation, _evaluation_of(client, champion))
    except Exception as error:  # noqa: BLE001 - whatever it is, the champion stays
        cause = " ".join(str(error).split())[:200]
        reasons = [f"its report cannot be read ({cause}); decide by hand: `augserve rollback {version.number}`"]
    if reasons:
        lines = "".join(f"\n- {reason}" for reason in reasons)
        return Decision(CHALLENGER, f"Challenger: not shown to be as good as champion {champion.number}.\n{lines}")
    return Decision(CHAMPION, f"Champion: worse than version {champion.number} in no cell of the report split.")


def parent_data(lock: Path) -> dict[str, str]:
    """Path → DVC's hash of the data and models that the stages made; empty without a lock."""
    if not lock.is_file():
        return {}
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
    outs = [out for name, stage in stages.items() if name != "package" for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith(("data/", "models/")) and "md5" in out}


def settings_of(bundle: Bundle) -> dict[str, object]:
    """scheduler.json as flat parameters: what differs between two versions stands out in MLflow."""
    return {"bundle": bundle.version} | dict(_flat(bundle.settings.to_json(), ""))


def headline(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """`metric/workload/profile/load` → value, of AugServe's cells; and its capacity@90."""
    for (workload, profile, load), _ in promotion.estimates(evaluation):
        of_load = evaluation[workload][profile]
        cell = next(of_load[key] for key in of_load if float(key) == load)[promotion.POLICY]
        for metric in HEADLINE:
            yield from numbers(cell.get(metric), f"{metric}/{workload}/{profile}/{load:g}x")
    for workload, of_profile in evaluation.get("capacity90", {}).items():
        for profile, found in of_profile.items():
            yield from numbers(found.get(promotion.POLICY), f"capacity90/{workload}/{profile}")


def numbers(value: object, name: str) -> Iterator[tuple[str, float]]:
    """The numbers of nested objects, each named by its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{name}/{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def _log(run: Run, bundle: Bundle, training: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
    run.log_metrics(
        dict(headline(evaluation))
        | dict(numbers(evaluation.get("summary", {}), "evaluate"))
        | dict(numbers(dict(training), "train"))
    )
    run.log_folder(bundle.path, "bundle")
    for folder in REPORTS:
        if folder.is_dir():
            run.log_folder(folder, str(folder))
    if PAGE.is_file():
        run.log_file(PAGE)
    run.log_inputs(parent_data(LOCK))


def _evaluation_of(client: Any, version: Version) -> Mapping[str, Any]:
    found = json.loads(Path(client.download_artifacts(version.run_id, str(EVALUATION))).read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _table(evaluation: Mapping[str, Any]) -> str:
    rows = [
        f"| {workload} | {profile} | {load:g}x | {estimate.value:.1f} |\n"
        for (workload, profile, load), estimate in promotion.estimates(evaluation)
    ]
    return "| workload | engine | load | turns in time /s |\n|---|---|---|---:|\n" + "".join(rows)


def _flat(value: object, name: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
