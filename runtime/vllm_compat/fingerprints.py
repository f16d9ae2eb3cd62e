"""Fingerprints of functions and classes: of what they do, not of how it is written down.

Taken of the syntax tree, so that comments, docstrings, annotations and line breaks do not count, and written down here
node by node, so that all versions of Python from 3.11 on give the same.
"""

import ast
import hashlib
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

DIGITS = 12
_KNOWN = Path(__file__).with_name("fingerprints.json")
_SILENT = frozenset({"annotation", "returns", "ctx", "kind", "type_comment", "type_params", "type_ignores"})


def fingerprint(thing: Any) -> str:
    """Of a function's or a class's source. Raises OSError or TypeError where there is none to be had."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    return hashlib.sha256("".join(_parts(tree)).encode()).hexdigest()[:DIGITS]


@cache
def known() -> Mapping[str, Mapping[str, str]]:
    """Release of vLLM → name of what is relied on → its fingerprint there."""
    releases: Mapping[str, Mapping[str, str]] = json.loads(_KNOWN.read_text(encoding="utf-8"))
    return releases


def _parts(node: object) -> Iterator[str]:
    if isinstance(node, ast.AST):
        if isinstance(node, ast.AnnAssign) and node.value is None:
            return
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if name not in _SILENT and value is not None and value != []:
                yield f"{name}="
                yield from _parts(_without_docstring(node, value) if name == "body" else value)
        yield ")"
    elif isinstance(node, list):
        for each in node:
            yield from _parts(each)
            yield ","
    else:
        yield repr(node)


def _without_docstring(node: ast.AST, body: Any) -> Any:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return body
    return body if ast.get_docstring(node, clean=False) is None else body[1:]
