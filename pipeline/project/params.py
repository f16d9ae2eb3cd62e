"""params.yaml: each stage reads its own section, as a frozen dataclass that validates itself."""

import dataclasses
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

PARAMS_FILE = Path("params.yaml")
Section = TypeVar("Section")
SECTIONS = (
    "base",
    "model",
    "gather",
    "data",
    "prepare",
    "train",
    "export",
    "profile",
    "tune",
    "tune_long",
    "evaluate",
    "compare",
    "fidelity",
    "live",
    "package",
)


class ParamsError(ValueError):
    """params.yaml is wrong; the message names the key, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class BaseParams:
    """Section `base`, shared by all stages."""

    seed: int

    def __post_init__(self) -> None:
        require(0 <= self.seed < 1 << 31, "base.seed", self.seed, "in [0, 2^31)")


def require(holds: bool, key: str, value: object, rule: str) -> None:
    """For a section's `__post_init__`: raise ParamsError unless the rule holds."""
    if not holds:
        raise ParamsError(f"{PARAMS_FILE}: {key} is {value!r}: it must be {rule}; correct it there")


def load_params(section: str, cls: type[Section], path: Path = PARAMS_FILE, overrides: str | None = None) -> Section:
    """Read one section into `cls`, a dataclass whose fields are scalars, lists (given as tuples) or mappings; keys of
    the section `overrides` stand in for its own.

    Raises ParamsError for a missing file, an unknown section, an unknown, missing or ill-typed key, or a value
    that `cls` refuses.
    """
    document = _read(path)
    if unknown := sorted(set(document) - set(SECTIONS)):
        raise ParamsError(f"{path}: unknown section {unknown[0]!r}; known are {', '.join(SECTIONS)}")
    values = document.get(section)
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: section {section!r} is missing; restore it from git")
    if overrides is not None:
        over = document.get(overrides)
        if not isinstance(over, dict):
            raise ParamsError(f"{path}: section {overrides!r} is missing; restore it from git")
        values = values | over
    hints = typing.get_type_hints(cls)
    fields = {field.name for field in dataclasses.fields(typing.cast(Any, cls))}
    if unknown := sorted(set(map(str, values)) - fields):
        raise ParamsError(f"{path}: unknown key {section}.{unknown[0]}; known are {', '.join(sorted(fields))}")
    if missing := sorted(fields - set(values)):
        raise ParamsError(f"{path}: key {section}.{missing[0]} is missing; restore it from git")
    return cls(**{name: _typed(f"{section}.{name}", value, hints[name], path) for name, value in values.items()})


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParamsError(f"{path}: {error.strerror}; run from the project's root") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {' '.join(str(error).split())}; correct it") from error
    if not isinstance(document, dict):
        raise ParamsError(f"{path}: must be a mapping of sections; restore it from git")
    return document


def _typed(key: str, value: object, hint: Any, path: Path) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        item = typing.get_args(hint)[0]
        if isinstance(value, list):
            return tuple(_typed(f"{key}[{index}]", element, item, path) for index, element in enumerate(value))
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, origin) and not (hint is int and isinstance(value, bool)):
        return value
    kind = {tuple: "a list", dict: "a mapping"}.get(origin, f"of type {origin.__name__}")
    raise ParamsError(f"{path}: {key} is {value!r}: it must be {kind}; correct it there")
