"""Only vllm_compat imports vLLM and touches what is inside its scheduler; checked over the runtime's source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import augserve.runtime
from augserve.runtime import AugServeScheduler
from augserve.runtime.vllm_compat import AsyncScheduler, HookedScheduler, SchedulerOutput, contract

RUNTIME = Path(augserve.runtime.__file__).parent
COMPAT = RUNTIME / "vllm_compat"
MODULES = sorted(path for path in RUNTIME.rglob("*.py") if not path.is_relative_to(COMPAT))

OUTPUT_FIELDS = set(contract.FIELDS[SchedulerOutput].split()) - {"num_scheduled_tokens"}
"""Fields of a scheduled step that other modules must not read; they may ask how many tokens each request got."""
OF_NAMED_TUPLES = {"_asdict", "_fields", "_replace"}
NAMING = ("getattr", "setattr", "hasattr", "attrgetter")


def strays(source: str) -> list[str]:
    """Uses of vLLM that belong into vllm_compat."""
    tree = ast.parse(source)
    return [*_imports(tree), *_attributes(tree)]


def _imports(tree: ast.AST) -> Iterator[str]:
    """Imports of vLLM, but for those under `if TYPE_CHECKING`."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for_types = {inner for block in blocks for inner in ast.walk(block)}
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        if node not in for_types:
            yield from (module for module in modules if module.partition(".")[0] == "vllm")


def _attributes(tree: ast.AST) -> Iterator[str]:
    """Private attributes, any attribute of another object's scheduler, and fields of a scheduled step."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            private = node.attr.startswith("_") and not node.attr.startswith("__") and node.attr not in OF_NAMED_TUPLES
            if (private and owner not in ("self", "cls")) or owner.endswith("scheduler") or node.attr in OUTPUT_FIELDS:
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in NAMING:
            names = [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
            if any(name.startswith("_") for name in names) or ast.unparse(node.args[0]).endswith("scheduler"):
                yield ast.unparse(node)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(RUNTIME)))
def test_no_other_module_touches_the_inside_of_vllm(module: Path) -> None:
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
        "getattr(instance, '_pause_state')",
        "getattr(self._scheduler, 'running')",
        "self._scheduler.running[:] = []",
        "step = scheduler.current_step",
        "cached = output.scheduled_cached_reqs",
    ],
)
def test_the_check_finds(source: str) -> None:
    assert strays(source)


def test_the_scheduler_has_no_name_of_vllm_but_the_methods_it_overrides() -> None:
    """Any other common name would change what vLLM does."""
    overridden = {"schedule", "add_request", "update_from_output", "finish_requests", "before_free"}
    overridden |= {"reset_prefix_cache", "set_pause_state", "shutdown", "usage_of_requests"}
    own = {name for name in vars(AugServeScheduler) if not name.startswith(("__", "_abc_"))}
    assert {name for name in own if hasattr(HookedScheduler, name)} == overridden
    assert not hasattr(AsyncScheduler, "before_free")
    assert not hasattr(AsyncScheduler, "usage_of_requests")
