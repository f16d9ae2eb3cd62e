"""Whether this vLLM is one that AugServe knows: all that is relied on is looked at once, as the server starts.

Two kinds of difference. What is missing, or takes other arguments, would fail in the engine: it is always refused. A
version or a behaviour that no release known here has is refused too, unless the operator takes it on.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from . import relied
from .fingerprints import fingerprint, known
from .names import AsyncScheduler, RequestQueue, vllm_version
from .unsupported import OVERRIDE, SUPPORTED, UnsupportedVllmError, supported_text

logger = logging.getLogger(f"vllm.{__name__}")

MAX_NAMED = 4
"""So many differences are named in a message; the rest is counted."""


def check_vllm(version: str | None = None, allow_unknown: bool = False) -> None:
    """Raises UnsupportedVllmError unless this vLLM's version and all that is relied on are as known; with
    `allow_unknown` another version or other behaviours are a warning."""
    version = version or vllm_version
    if wrong := tuple(_missing()):
        raise UnsupportedVllmError(f"vLLM {version}: {_listed(wrong)}; install {supported_text()}")
    differences = (*_version_differs(version), *_behaviours_differ(version))
    if not differences:
        return
    if not allow_unknown:
        raise UnsupportedVllmError(
            f"vLLM {version} is not known to AugServe: {_listed(differences)}; install {supported_text()}, "
            f'or set "{OVERRIDE}": true to run it untested'
        )
    logger.warning(
        "AugServe runs untested on vLLM %s, as %s asks for: %s", version, OVERRIDE, _listed(differences, most=99)
    )


def check_scheduler(scheduler: AsyncScheduler) -> None:
    """Raises UnsupportedVllmError where the constructed scheduler, or what it is made of, lacks an attribute."""
    if missing := tuple(_missing_attributes(scheduler)):
        raise UnsupportedVllmError(f"vLLM {vllm_version}: {_listed(missing)}; install {supported_text()}")


def record() -> dict[str, str]:
    """The running vLLM's fingerprints, as fingerprints.json holds them for each release."""
    return {name: fingerprint(each) for name, each in relied.behaviours()}


def _missing() -> Iterator[str]:
    for owner, methods in relied.SIGNATURES.items():
        for name, parameters in methods.items():
            method = getattr(owner, name, None)
            if method is None:
                yield f"{owner.__name__} has no {name}"
            elif tuple(inspect.signature(method).parameters)[1:] != parameters:
                yield f"{owner.__name__}.{name} takes other arguments than ({', '.join(parameters)})"
    if RequestQueue.__abstractmethods__ != relied.QUEUE_METHODS:
        changed = sorted(RequestQueue.__abstractmethods__ ^ relied.QUEUE_METHODS)
        yield f"RequestQueue has other methods than known: {', '.join(changed)}"
    for thing, names in relied.probes():
        yield from (f"{type(thing).__name__} has no {name}" for name in names if not hasattr(thing, name))
    for kind, names in relied.FIELDS.items():
        has = _field_names(kind)
        yield from (f"{kind.__name__} has no {name}" for name in names if name not in has and not hasattr(kind, name))


def _missing_attributes(scheduler: AsyncScheduler) -> Iterator[str]:
    for path, names in relied.SCHEDULER.items():
        try:
            owner = attrgetter(path)(scheduler) if path else scheduler
        except AttributeError as error:
            yield f"the scheduler has no {path} ({error})"
            continue
        what = f"the scheduler's {path}" if path else "the scheduler"
        yield from (f"{what} has no {name}" for name in names if not hasattr(owner, name))
    if not any(hasattr(scheduler, name) for name in relied.HOLDING_QUEUES):
        yield f"the scheduler has no {' or '.join(relied.HOLDING_QUEUES)}"
    coordinator = getattr(getattr(scheduler, "kv_cache_manager", None), "coordinator", None)
    for manager in getattr(coordinator, "single_type_managers", ()):
        what = type(manager).__name__
        yield from (f"{what} has no {name}" for name in relied.GROUP_MANAGER if not hasattr(manager, name))


def _version_differs(version: str) -> Iterator[str]:
    if not SUPPORTED[0] <= _numbers(version)[:2] < SUPPORTED[1]:
        yield "AugServe knows " + supported_text().removeprefix("vLLM ")


def _behaviours_differ(version: str) -> Iterator[str]:
    """What does otherwise than in the release known here that is nearest to `version`."""
    release, expected = _nearest(version)
    for name, each in relied.behaviours():
        try:
            found = _fingerprint(each)
        except (OSError, TypeError, ValueError):
            yield f"{name} has no source to be compared"
            continue
        if found != expected.get(name):
            yield f"{name} is not as in {release}"


_fingerprint = cache(fingerprint)  # simulations start many schedulers


def _nearest(version: str) -> tuple[str, Mapping[str, str]]:
    """The newest known release that is not newer than `version`; the oldest where all are."""
    releases = sorted(known(), key=_numbers)
    not_newer = [release for release in releases if _numbers(release) <= _numbers(version)]
    release = (not_newer or releases)[-1 if not_newer else 0]
    return release, known()[release]


def _numbers(version: str) -> tuple[int, ...]:
    """(0, 32, 1) of "0.32.1.dev3+g12"; (0, 0) of what is no version."""
    numbers = []
    for part in version.partition("+")[0].split(".")[:3]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers) if len(numbers) > 1 else (0, 0)


def _field_names(kind: type[Any]) -> frozenset[str]:
    if is_dataclass(kind):
        return frozenset(field.name for field in fields(kind))
    return frozenset(getattr(kind, "__struct_fields__", ()))


def _listed(differences: tuple[str, ...], most: int = MAX_NAMED) -> str:
    more = len(differences) - most
    return ", ".join(differences[:most]) + (f" and {more} more" if more > 0 else "")
