"""Whether a server will start with AugServe, and what it will do, found without starting it."""

import os
import shutil
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...models.registry.source import Registry
from ...models.registry.versions import RegistryError, resolve
from ...models.serving.bundle import load_bundle
from ...models.serving.manifest import BundleError
from ...models.serving.trust import Trust
from ...runtime.deployment import KEY, MIDDLEWARE, Deployment, DeploymentError, read_deployment
from .bundle_check import check_bundle
from .finding import Finding

SCHEDULER = "augserve.runtime.AugServeScheduler"


def check_before_start(arguments: Sequence[str], bundle: Path | None) -> Iterator[Finding]:
    """Check vLLM, the deployment, its bundle and the rest of a server's arguments.

    `arguments`: what follows `vllm serve`; without any, the installation and the bundle alone are checked. `bundle`: a
    folder to check in place of the deployment's.
    """
    try:
        import vllm
    except ImportError as error:
        yield Finding("vLLM", "bad", f"it cannot be imported here ({error}); run this in vLLM's environment")
        version = None
    else:
        version = str(vllm.__version__)
    parsed = None
    if arguments and version is not None:
        from ...runtime.vllm_compat.serve.command_line import ServeArgumentsError, parse_serve_arguments

        try:
            parsed = parse_serve_arguments(arguments)
        except ServeArgumentsError as error:
            yield Finding("arguments", "bad", f"vLLM refuses them: {error}; correct them")
    deployment = None
    if parsed is not None:
        yield from _check_scheduler(parsed)
        try:
            deployment = read_deployment(parsed.additional_config)
        except DeploymentError as error:
            yield Finding("deployment", "bad", str(error))
    if version is not None:
        yield _check_vllm(version, deployment is not None and deployment.allow_unknown_vllm)
    yield from _check_bundle(deployment, bundle, version)
    if deployment is not None and deployment.candidate is not None:
        yield from _check_candidate(deployment, deployment.candidate, version)
    if deployment is not None and deployment.registry is not None:
        yield _check_registry(deployment, deployment.registry)
    if deployment is not None and deployment.traces is not None:
        yield _check_disk(deployment, deployment.traces)
    if parsed is not None:
        yield _check_middleware(list(parsed.middleware), deployment)
        yield from _check_engine(parsed)


def _check_vllm(version: str, allow_unknown: bool) -> Finding:
    from ...runtime.vllm_compat.supported import TESTED, UnsupportedVllmError, is_supported

    try:
        from ...runtime.vllm_compat.contract import check_vllm

        check_vllm(version, allow_unknown)
    except UnsupportedVllmError as error:
        return Finding("vLLM", "bad", str(error))
    if version in TESTED:
        return Finding("vLLM", "ok", f"{version}, tested; it has all that AugServe relies on")
    doubt = "an untested build" if is_supported(version) else "untested, and allowed by allow_unknown_vllm"
    return Finding("vLLM", "note", f"{version}, {doubt}; it has the names that AugServe relies on")


def _check_scheduler(parsed: Namespace) -> Iterator[Finding]:
    named = parsed.scheduler_cls
    if named is None:
        yield Finding("scheduler", "bad", f"vLLM's own would run; add --scheduler-cls {SCHEDULER}")
    elif named != SCHEDULER:
        yield Finding("scheduler", "bad", f"--scheduler-cls is {named}; replace it by {SCHEDULER}")


def _check_bundle(deployment: Deployment | None, bundle: Path | None, version: str | None) -> Iterator[Finding]:
    trust = Trust()
    if deployment is not None:
        yield Finding("deployment", "ok", f"mode {deployment.mode}")
        if bundle is None and deployment.mode == "observe":
            return
        try:
            bundle, trust = bundle or deployment.bundle_folder(), deployment.trust
        except DeploymentError as error:
            yield Finding("bundle", "bad", str(error))
            return
        if deployment.allow_unknown_vllm:
            version = None
    if bundle is not None:
        yield from check_bundle(bundle, version, trust)


def _check_candidate(deployment: Deployment, folder: Path, version: str | None) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding("candidate", "note", f"{folder} is not there yet; a bundle that is put there will be tried")
        return
    try:
        candidate = load_bundle(folder, None if deployment.allow_unknown_vllm else version, deployment.trust)
    except BundleError as error:
        yield Finding("candidate", "bad", f"{error}; the bundle would decide alone")
        return
    forecasts = f"bundle {candidate.version} forecasts for {deployment.share:.0%} of the sessions"
    yield Finding("candidate", "note", f"{forecasts}; its settings (order, token budget, residency) are not used")


def _check_registry(deployment: Deployment, address: str) -> Finding:
    try:
        version = resolve(Registry(address).versions(), deployment.alias)
    except RegistryError as error:
        return Finding("registry", "note", f"{error}; the server would start, and ask again")
    if deployment.bundle is not None and not os.access(deployment.bundle.resolve().parent, os.W_OK):
        remedy = f"make {deployment.bundle.resolve().parent} writable: new bundles are put beside the old one"
        return Finding("registry", "bad", f"the folder of {KEY}.bundle cannot be replaced; {remedy}")
    return Finding("registry", "ok", f"{deployment.alias} is version {version.number}, bundle {version.bundle}")


def _check_disk(deployment: Deployment, folder: Path) -> Finding:
    existing = folder if folder.is_dir() else folder.parent
    if folder.exists() and not folder.is_dir():
        return Finding("traces", "bad", f"{folder} is a file; name a folder in {KEY}.traces")
    if not existing.is_dir():
        return Finding("traces", "bad", f"{existing}: no such folder; make it or correct {KEY}.traces")
    free_gb = shutil.disk_usage(existing).free / 1e9
    room = f"{folder}: {free_gb:.1f} GB are free, and traces take at most {deployment.traces_max_gb:g} GB"
    if free_gb < deployment.traces_max_gb:
        return Finding("traces", "note", f"{room}; lower {KEY}.traces_max_gb or free the disk")
    return Finding("traces", "ok", room)


def _check_middleware(named: list[str], deployment: Deployment | None) -> Finding:
    if MIDDLEWARE not in named:
        if deployment is not None and deployment.refuse_after_s is not None:
            message = f"absent: {KEY}.refuse_after_s refuses nobody; add --middleware {MIDDLEWARE}"
            return Finding("middleware", "bad", message)
        message = f"absent: predictions do not tell tools apart; add --middleware {MIDDLEWARE}"
        return Finding("middleware", "note", message)
    if before := named[: named.index(MIDDLEWARE)]:
        message = f"it runs outside of {', '.join(before)}; name it first, so that what they refuse is not read"
        return Finding("middleware", "note", message)
    return Finding("middleware", "ok", "innermost, next to vLLM's own check of keys")


def _check_engine(parsed: Namespace) -> Iterator[Finding]:
    """What vLLM makes of the arguments: what AugServe refuses, and what it was tested with."""
    from ...runtime.vllm_compat.serve.combinations import used_combinations
    from ...runtime.vllm_compat.serve.command_line import ServeArgumentsError, engine_config
    from ...runtime.vllm_compat.setups import check_setup
    from ...runtime.vllm_compat.supported import UnsupportedVllmError

    try:
        config = engine_config(parsed)
    except ServeArgumentsError as error:
        yield Finding("engine", "bad", f"vLLM makes no configuration of these arguments: {error}; correct them")
        return
    try:
        check_setup(config)
    except UnsupportedVllmError as error:
        yield Finding("engine", "bad", str(error))
    limits = config.scheduler_config
    size = f"{config.model_config.max_model_len:,} tokens of context, {limits.max_num_batched_tokens:,} a step"
    yield Finding("engine", "ok", f"{size}, {limits.max_num_seqs} requests at once")
    for used in used_combinations(config):
        if used.state != "refused":
            facts = "; ".join(filter(None, [used.state, used.effect, used.remedy]))
            state: Any = "note" if used.state == "unknown" or used.remedy else "ok"
            yield Finding("support", state, f"{used.feature}: {facts}")
