"""What vLLM's functions do, compared with the releases that AugServe was written for.

Bodies are read from vLLM's source files and not imported. `make test-contract` runs this file on every supported
release. After reading what changed in a new release, record it, with that release first on PYTHONPATH:

    python tests/integration/test_vllm_contract.py
"""

import ast
import hashlib
import importlib.util
import json
import runpy
from collections.abc import Mapping
from pathlib import Path

import pytest

BODIES: Mapping[str, str] = {
    # Scheduler: overridden methods, then how requests change queues and lose their blocks
    "v1/core/sched/scheduler.py": "Scheduler.schedule Scheduler.add_request Scheduler.finish_requests "
    "Scheduler.update_from_output Scheduler.shutdown Scheduler._free_blocks Scheduler.set_pause_state "
    "Scheduler.reset_prefix_cache Scheduler._preempt_request Scheduler._enqueue_waiting_request "
    "Scheduler._handle_stopped_request Scheduler._free_request Scheduler.get_request_counts",
    "v1/core/sched/async_scheduler.py": "AsyncScheduler._update_after_schedule "
    "AsyncScheduler._update_request_with_output",
    "v1/core/sched/request_queue.py": "FCFSRequestQueue PriorityRequestQueue",
    "v1/request.py": "Request.__lt__",
    # What an admission needs, and which request holds which block
    "v1/core/kv_cache_manager.py": "KVCacheManager.allocate_slots KVCacheManager.get_computed_blocks "
    "KVCacheManager.prefix_cache_lookup_enabled KVCacheManager.get_blocks KVCacheManager.free",
    "v1/core/kv_cache_coordinator.py": "UnitaryKVCacheCoordinator.find_longest_cache_hit",
    "v1/core/block_pool.py": "BlockPool.touch BlockPool.free_blocks BlockPool.get_num_free_blocks BlockPool.get_usage "
    "BlockHashToBlockMap.get_one_block",
    "v1/core/kv_cache_utils.py": "make_block_hash_with_group_id",
}
"""Functions and classes that must do what they did, by their file in vLLM."""
RECORDED = Path(__file__).with_name("vllm_fingerprints.json")


def installed() -> tuple[str, Path]:
    """Release and folder of the vLLM first on the path, which is not imported."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    version: str = runpy.run_path(str(folder / "_version.py"))["__version__"]
    return version.partition("+")[0], folder


def fingerprints(folder: Path) -> dict[str, str]:
    """Hash of each body's code; comments, docstrings and line breaks do not count."""
    return {
        name: fingerprint(tree, name)
        for file, names in BODIES.items()
        for tree in [ast.parse((folder / file).read_text(encoding="utf-8"))]
        for name in names.split()
    }


def fingerprint(tree: ast.AST, name: str) -> str:
    for part in name.split("."):
        (tree,) = (node for node in ast.iter_child_nodes(tree) if getattr(node, "name", None) == part)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:12]


def recorded() -> dict[str, dict[str, str]]:
    releases: dict[str, dict[str, str]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return releases


def test_the_functions_that_augserve_relies_on_do_what_they_did() -> None:
    release, folder = installed()
    releases = recorded()
    nearest = release if release in releases else list(releases)[-1]
    assert fingerprints(folder) == releases[nearest], f"vLLM {release} differs from {nearest}"


def test_the_names_and_signatures_are_those_that_augserve_uses() -> None:
    from augserve.runtime.vllm_compat import check_vllm

    check_vllm()


def test_every_tested_release_is_recorded() -> None:
    from augserve.runtime.vllm_compat.supported import TESTED

    assert tuple(recorded()) == TESTED


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ("def f(a):\n    '''Text.'''\n    return (a,  # why\n      1)", True),
        ("def f(a):\n    return a, 2", False),
        ("def f(b):\n    return b, 1", False),
    ],
    ids=["layout", "constant", "parameter"],
)
def test_only_code_changes_a_fingerprint(changed: str, same: bool) -> None:
    plain = fingerprint(ast.parse("def f(a):\n    return a, 1"), "f")
    assert (fingerprint(ast.parse(changed), "f") == plain) is same


if __name__ == "__main__":
    new_release, new_folder = installed()
    entries = {**recorded(), new_release: fingerprints(new_folder)}
    RECORDED.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
