"""Attributes of an OpenTelemetry span: OTLP/JSON's list of keys and typed values."""

import json
from collections.abc import Mapping
from typing import Any

_INT64 = 1 << 63


def attributes(values: object) -> dict[str, Any]:
    """OTLP's list of keys and typed values as a mapping; values of another form are ignored."""
    if not isinstance(values, list):
        return {}
    return {
        item["key"]: _value(item.get("value"))
        for item in values
        if isinstance(item, dict) and isinstance(item.get("key"), str)
    }


def _value(value: object) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        return None
    [(kind, content)] = value.items()
    if kind == "intValue":  # int64: a string in JSON
        try:
            content = int(str(content))
        except ValueError:
            return None
    if isinstance(content, int) and not -_INT64 <= content < _INT64:
        return None
    if kind == "arrayValue" and isinstance(content, dict):
        items = content.get("values")
        return [_value(item) for item in items] if isinstance(items, list) else []
    if kind == "kvlistValue" and isinstance(content, dict):
        return attributes(content.get("values"))
    return content


def first(facts: Mapping[str, Any], keys: tuple[str, ...], *types: type) -> Any:
    for key in keys:
        found = facts.get(key)
        if isinstance(found, types) and not isinstance(found, bool) and found != "":
            return found
    return None


def count(facts: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    found = first(facts, keys, int, float)
    return int(found) if found is not None and 0 <= found < 1 << 31 else None


def parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
