"""The rule that one place knows vLLM's internals, held over the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import augserve.runtime
from augserve.runtime import AugServeScheduler
from augserve.runtime.vllm_compat import AsyncScheduler, HookedScheduler

RUNTIME = Path(augserve.runtime.__file__).parent
COMPAT = RUNTIME / "vllm_compat"
MODULES = sorted(path for path in RUNTIME.rglob("*.py") if not path.is_relative_to(COMPAT))


def strays(source: str) -> list[str]:
    """Imports of vLLM that are not for annotations alone, and private names of anything but `self` and its class."""
    tree = ast.parse(source)
    annotating = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    return [*_imports(tree, annotating), *_private(tree)]


def _imports(tree: ast.AST, annotating: set[ast.AST]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        if node not in annotating:
            yield from (module for module in modules if module.partition(".")[0] == "vllm")


def _private(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls"):
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "attrgetter"):
            yield from (
                ast.unparse(node)
                for argument in node.args
                if isinstance(argument, ast.Constant) and str(argument.value).startswith("_")
            )


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(RUNTIME)))
def test_no_other_module_knows_vllms_internals(module: Path) -> None:
    assert strays(module.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import vllm",
        "from vllm.v1.request import Request",
        "import os, vllm.v1.request as request",
        "def late():\n    from vllm import envs",
        "scheduler._preempt_request(request)",
        "class S(B):\n    def m(self):\n        return super()._free_blocks(self.r)",
        "self.pool._cache.clear()",
        "getattr(scheduler, '_pause_state')",
    ],
)
def test_the_rule_finds(source: str) -> None:
    assert strays(source)


def test_the_scheduler_takes_no_name_of_vllms_but_those_it_overrides() -> None:
    """A private name that vLLM has too would change what vLLM does."""
    overridden = {"schedule", "add_request", "update_from_output", "finish_requests", "before_free"}
    overridden |= {"reset_prefix_cache", "set_pause_state", "shutdown"}
    own = {name for name in vars(AugServeScheduler) if not name.startswith(("__", "_abc_"))}
    assert {name for name in own if hasattr(HookedScheduler, name)} == overridden
    assert not hasattr(AsyncScheduler, "before_free")
