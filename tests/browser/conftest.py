"""The pipeline on a tiny setting, with two results of tuning, MLflow's UI on what it left, and a real browser."""

import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Page, Route, sync_playwright

from augserve.data.atomic import write_json, write_text
from augserve.data.workload.mix import MIX
from augserve.models.registry.versions import registered_versions
from augserve.models.serving.settings import SchedulerSettings, ValueWeights
from augserve.pipeline.cli import __main__ as cli
from augserve.pipeline.evaluate import run as evaluate
from augserve.pipeline.export import run as export
from augserve.pipeline.package import run as package
from augserve.pipeline.prepare import run as prepare
from augserve.pipeline.profile.engines import ENGINES
from augserve.pipeline.profile.kernels import gpu_profile
from augserve.pipeline.project import paths
from augserve.pipeline.project.tracking import tracking_client
from augserve.pipeline.report import run as report
from augserve.pipeline.report.page import TUNING_FIGURES
from augserve.pipeline.results.figures import svg_figure
from augserve.pipeline.results.tuning import Selection
from augserve.pipeline.train import run as train

from ..mlflow_server import mlflow_server

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = ROOT / "build" / "screenshots"
ENGINE = "llama-3.1-8b-h100"
PAGE_TIMEOUT_MS = 60_000
LOCAL = ("http://127.0.0.1", "file:", "data:", "blob:", "about:")
TINY: dict[str, dict[str, Any]] = {
    "data": {"sources": ["gathered"]},
    "prepare": {"mix_sessions": 40},
    "train": {"max_rounds": 5, "max_rounds_only_forest": 5, "max_rounds_probability": 5},
    "export": {"rows": 200},
    "evaluate": {
        "policies": ["vllm", "augserve"],
        "ablations": [],
        "oracles": [],
        "loads": [1.0, 3.0],
        "target_loads": [],
        "swing_policies": ["vllm", "augserve"],
        "swing_window_s": 5.0,
        "capacity_policies": ["vllm"],
        "capacity_rounds": 1,
        "warmup_s": 2.0,
        "window_s": 5.0,
        "drain_s": 2.0,
        "agent_workloads": ["coding-agents"],
        "agents": [2, 4],
        "agent_policies": ["vllm", "augserve"],
        "agent_seeds": 1,
        "agent_warmup_s": 5.0,
        "agent_window_s": 30.0,
        "agent_drain_s": 2.0,
        "processes": 1,
    },
}
"""What differs from params.yaml."""
TUNED = (
    SchedulerSettings(profile=ENGINE),
    SchedulerSettings(profile=ENGINE, weights=ValueWeights(stage_one=0.0, uncached=0.0, waiting=1.0), max_wait_s=20.0),
)
"""Settings of two made-up studies, because a search takes too long here."""

CHOSEN = Selection("defaults", ((MIX, ENGINE, "1x"),), {"defaults": {"tune": 1.0, "select": 1.0}})


def write_params(root: Path) -> None:
    sections = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, values in TINY.items():
        sections[name] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(sections))


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path) -> Path:
    """A project whose stages have registered two versions, as `dvc repro` does after another tuning."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(mlflow_database, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_params(root)
        found, _, _ = gpu_profile(ENGINE, ENGINES[ENGINE], 0.92)
        found.save(paths.PROFILES / f"{ENGINE}.json")
        cli.main(["simulate", "augmentation-mix", "--rate", "3", "--window", "10", "--out", "data/traces/gathered"])
        run(prepare, train, export)
        for settings in TUNED:
            write_json(paths.TUNED_SETTINGS, settings.to_json())
            write_json(paths.TUNED / "capacity.json", {"profile": ENGINE, "sessions_per_s": 4.0})
            write_json(paths.SELECTION, dataclasses.asdict(CHOSEN))
            write_tuning_reports()
            run(evaluate, report, package)
    return root


def write_tuning_reports() -> None:
    """Stand-ins for the reports of `tune` and `profile`, which the page shows."""
    write_text(paths.TUNING_REPORTS / "table.md", "| settings |\n|---|\n| defaults |\n")
    write_json(Path("reports/profile/metrics.json"), {ENGINE: {"median_relative_error": 0.02, "kv_tokens": 9}})
    for name in TUNING_FIGURES:
        with svg_figure(paths.TUNING_REPORTS / f"{name}.svg", 3, 2) as (_, axes):
            axes[0, 0].plot([0, 1])


def run(*stages: ModuleType) -> None:
    """As `python -m augserve.pipeline` runs them, without arguments."""
    with pytest.MonkeyPatch.context() as patch:
        for stage in stages:
            patch.setattr(sys, "argv", [stage.__name__])
            stage.main()


@pytest.fixture(scope="session")
def ui(project: Path) -> Iterator[str]:
    """The address of `mlflow ui` on the project's store."""
    with mlflow_server(project) as address:
        yield address


@pytest.fixture
def browser() -> Iterator[Browser]:
    """One a test: while it is open its event loop runs in this thread, and no other test could run its own."""
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: `apt-get install --no-install-recommends chromium` (CI does)")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """A page of its own, and the addresses outside this machine that it asked for, in vain."""

    page: Page
    outside: list[str] = field(default_factory=list)

    def keep(self, name: str) -> None:
        """A screenshot, for who looks at the tests' artifacts."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[int, int], Visit]]:
    """Opens a page of a width and height in pixels."""
    contexts = []

    def open_page(width: int, height: int) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        found = Visit(context.new_page())
        found.page.set_default_timeout(PAGE_TIMEOUT_MS)
        context.route(lambda url: not url.startswith(LOCAL), lambda route: refuse(found, route))
        return found

    yield open_page
    for context in contexts:
        context.close()


def refuse(visit: Visit, route: Route) -> None:
    visit.outside.append(route.request.url)
    route.abort()


@pytest.fixture
def metrics_of(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], dict[str, float]]:
    """What MLflow holds of a version, by its number."""
    monkeypatch.chdir(project)
    client = tracking_client()
    runs = {version.number: version.run_id for version in registered_versions(client)}
    return lambda number: dict(client.get_run(runs[number]).data.metrics)
