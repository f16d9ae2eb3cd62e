"""Which code each stage is said to run, of the project's own dvc.yaml and sources."""

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from augserve.pipeline.code.graph import ROOT as SOURCES
from augserve.pipeline.code.graph import CodeGraph
from augserve.pipeline.code.run import code_of, entry

ROOT = Path(__file__).parents[4]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
OTHERS = sorted(set(STAGES) - {"code"})
GRAPH = CodeGraph()


@pytest.fixture(scope="module")
def code() -> dict[str, str]:
    return {stage: code_of(stage, GRAPH) for stage in OTHERS}


def modules(text: str) -> set[str]:
    return {line[2:] for line in text.splitlines() if line.startswith("# ")}


@pytest.mark.parametrize("stage", OTHERS)
def test_a_stage_depends_on_its_code_and_on_no_source(stage: str) -> None:
    deps = STAGES[stage]["deps"]
    assert f"build/code/{stage}.txt" in deps
    assert [dep for dep in deps if dep.endswith(".py") or (ROOT / dep / "__init__.py").exists()] == []


def test_the_code_of_every_stage_is_written() -> None:
    assert sorted(STAGES["code"]["cmd"].split()[3:]) == OTHERS


@pytest.mark.parametrize("stage", OTHERS)
def test_a_stage_runs_the_module_or_package_of_its_name(stage: str) -> None:
    assert STAGES[stage]["cmd"] == f"python -m augserve.pipeline.{stage}"


def test_the_code_stage_depends_on_every_source() -> None:
    deps = STAGES["code"]["deps"]
    paths = [path.relative_to(SOURCES) for path in GRAPH.modules.values()]
    missed = [str(path) for path in paths if not any(path.is_relative_to(dep) for dep in deps)]
    assert missed == [], "add them to the deps of the stage `code` in dvc.yaml"


def test_a_term_of_the_value_is_run_where_schedulers_are_simulated_and_nowhere_else(code: dict[str, str]) -> None:
    assert {stage for stage, text in code.items() if "runtime.value" in modules(text)} == {"tune", "evaluate"}


def test_a_rival_is_run_by_the_evaluation_and_not_by_tuning(code: dict[str, str]) -> None:
    rivals = {stage: {name for name in modules(text) if ".rivals." in name} for stage, text in code.items()}
    assert {stage for stage, found in rivals.items() if found} == {"evaluate"}
    assert "pipeline.simulator.rivals.mars" in rivals["evaluate"]


def test_a_package_is_followed_from_its_main_on(code: dict[str, str]) -> None:
    for stage in ("tune", "evaluate", "gather"):
        assert (f"pipeline.{stage}.__main__", "main") == entry(stage, GRAPH)
        assert f"pipeline.{stage}.run" in modules(code[stage])
    assert "pipeline.tune.study" in modules(code["tune"])
    assert entry("export", GRAPH) == ("pipeline.export", "main")


def test_gathering_runs_what_records_and_nothing_that_decides(code: dict[str, str]) -> None:
    found = modules(code["gather"])
    assert {"runtime.middleware", "runtime.recorder", "runtime.tracing", "runtime.trace_files", "runtime.rows"} <= found
    assert not {"runtime.value", "runtime.ordering", "runtime.scheduler", "runtime.budget"} & found


def test_importers_are_loaded_by_name_and_yet_told(code: dict[str, str]) -> None:
    importers = {
        name for name in GRAPH.modules if name.startswith("data.importers.") and GRAPH.module(name).definitions
    }
    assert importers <= modules(code["public"])


@pytest.mark.parametrize("stage", ["export", "package", "report"])
def test_what_a_stages_functions_name_is_told(stage: str, code: dict[str, str]) -> None:
    """Independent of the syntax trees: every function of the project that `main` names, seen by importing it."""
    main = importlib.import_module(f"augserve.{entry(stage, GRAPH)[0]}").main
    for name in main.__code__.co_names:
        value = main.__globals__.get(name)
        origin = getattr(value, "__module__", "")
        if origin.startswith("augserve.") and origin not in (
            "augserve.pipeline.project.params",
            "augserve.pipeline.project.stage",
        ):
            assert origin.removeprefix("augserve.") in modules(code[stage]) | {"pipeline.tracking"}


def test_modules_that_load_others_by_name_are_known() -> None:
    """`import_module` is invisible to the graph: who calls it must be one of those that code.py answers for."""
    calling = {
        name
        for name, path in GRAPH.modules.items()
        for node in ast.walk(ast.parse(Path(path).read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "import_module"
    }
    assert calling == {"data.importers.formats", "pipeline.cli"}
