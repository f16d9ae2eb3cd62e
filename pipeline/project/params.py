"""params.yaml: each stage reads its own section as a pydantic model, validated when it is loaded."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...data.one_line import one_line

PARAMS_FILE = Path("params.yaml")
SECTIONS = (
    "base",
    "model",
    "gather",
    "data",
    "prepare",
    "train",
    "export",
    "profile",
    "slo",
    "tune",
    "tune_long",
    "evaluate",
    "compare",
    "sessions",
    "information",
    "fidelity",
    "live",
    "package",
)
Processes = Annotated[int, Field(ge=1, le=256)]
Share = Annotated[float, Field(ge=0, le=1)]
SearchRounds = Annotated[int, Field(ge=1, le=12)]


class ParamsError(ValueError):
    """params.yaml is wrong; the message names the key, the cause and the remedy."""


class Section(BaseModel):
    """A section of params.yaml. A validator raises ValueError with the rule, such as "a list with vllm".

    Numbers are strict: an int takes neither a float nor a bool, a float takes an int.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    SECTION: ClassVar[str]

    def changed(self, **changes: Any) -> Self:
        """A validated copy with other values. Raises pydantic's ValidationError, a ValueError."""
        return self.model_validate(dict(self) | changes)


def known_names(names: tuple[str, ...], known: Collection[str]) -> tuple[str, ...]:
    """For a validator: `names`, of which there must be some, all of them known."""
    if not names or set(names) - set(known):
        unknown = "".join(f"without {name!r}, which is unknown, " for name in names if name not in known)
        raise ValueError(f"a list {unknown}of some of {', '.join(known)}")
    return names


SectionT = TypeVar("SectionT", bound=Section)


class BaseParams(Section):
    """Read by all stages."""

    SECTION = "base"
    seed: int = Field(ge=0, lt=1 << 31)


class SplitShares(Section, extra="ignore"):
    """The part of section `prepare` that later stages read to select sessions that training did not use."""

    SECTION = "prepare"
    validation_share: float = Field(gt=0, lt=0.5)
    test_share: float = Field(gt=0, lt=0.5)


def load_params(cls: type[SectionT], path: Path = PARAMS_FILE, overrides: str | None = None) -> SectionT:
    """Read the section of `cls`; keys of the section `overrides` replace its own.

    Raises ParamsError for a missing file or section, and for an unknown, missing or invalid key.
    """
    document = _read(path)
    if unknown := sorted(set(document) - set(SECTIONS)):
        raise ParamsError(f"{path}: unknown section {unknown[0]!r}; known are {', '.join(SECTIONS)}")
    values: dict[str, Any] = {}
    for section in (cls.SECTION, overrides) if overrides else (cls.SECTION,):
        if not isinstance(document.get(section), dict):
            raise ParamsError(f"{path}: section {section!r} is missing; restore it from git")
        values |= document[section]
    try:
        # Only pydantic's JSON mode takes a list for a tuple and is strict otherwise.
        return cls.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise ParamsError(f"{path}: {_first_problem(cls, error)}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParamsError(f"{path}: {error.strerror}; run from the project's root") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {one_line(error)}; correct it") from error
    if not isinstance(document, dict):
        raise ParamsError(f"{path}: must be a mapping of sections; restore it from git")
    return document


def _first_problem(cls: type[Section], error: ValidationError) -> str:
    """One line that names the key, the cause and the remedy."""
    # A misspelt key is missing and unknown: the unknown one says more.
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    key = cls.SECTION
    for part in problem["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}"
    if problem["type"] == "missing":
        return f"key {key} is missing; restore it from git"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}; known are {', '.join(sorted(cls.model_fields))}"
    rule = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not problem["loc"]:  # of a rule about several keys, which its message names
        return f"{key}: {rule}; correct it there"
    return f"{key} is {problem['input']!r}: it must be {rule}; correct it there"
