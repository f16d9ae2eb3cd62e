"""Changes of params.yaml that keep its comments and its layout."""

import re
from functools import partial
from typing import Any

import yaml

from ...models.serving.settings import SettingsError, Slo
from ..project.params import PARAMS_FILE
from ..project.stage import StageError

_SOURCES = re.compile(r"(^data:\n(?:(?:[ #].*)?\n)*?  sources: \[)([^\]]*)(\])", re.MULTILINE)
_SLO = r"(^slo:\n(?:(?:[ #].*)?\n)*?  {key}: )([^\s#]+)"


def with_source(params: str, name: str) -> str:
    """The text of params.yaml with one more name in data.sources, unchanged otherwise."""
    changed = _SOURCES.sub(lambda match: f"{match[1]}{_joined(match[2], name)}{match[3]}", params, count=1)
    before, after = (_value(text, "data", "sources") for text in (params, changed))
    if after is None or after != [*before, name]:
        raise StageError(f"{PARAMS_FILE}: data.sources is no list in brackets; add {name!r} by hand and run this again")
    return changed


def with_slo(params: str, **limits_s: float | None) -> str:
    """The text of params.yaml with these limits in section `slo`; None leaves one as it is.

    Raises StageError for a limit out of range, and where the section does not have the usual form.
    """
    given = {key: limit_s for key, limit_s in limits_s.items() if limit_s is not None}
    for key, limit_s in given.items():
        _check_range(key, limit_s)
        pattern = re.compile(_SLO.format(key=key), re.MULTILINE)
        params = pattern.sub(partial(_replaced, limit_s), params, count=1)
        if _value(params, "slo", key) != limit_s:
            raise StageError(f"{PARAMS_FILE}: slo.{key} is no number on a line of its own; set it by hand")
    return params


def _check_range(key: str, limit_s: float) -> None:
    """Raises StageError for a limit that section `slo` does not allow."""
    try:
        Slo(**{key: limit_s})
    except SettingsError as error:
        raise StageError(f"slo.{key}: {limit_s:g} s: {error}") from error


def _replaced(limit_s: float, match: re.Match[str]) -> str:
    return f"{match[1]}{limit_s!r}"


def _value(params: str, section: str, key: str) -> Any:
    """None where the text has none."""
    try:
        return yaml.safe_load(params)[section][key]
    except (yaml.YAMLError, KeyError, TypeError):
        return None


def _joined(names: str, name: str) -> str:
    listed = names.rstrip().rstrip(",")
    return f"{listed}, {name}" if listed.strip() else name
