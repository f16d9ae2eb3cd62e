"""Two scheduler versions, as a person compares them in MLflow's UI, and as a GPU server fetches one."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from augserve.models.registry.versions import REGISTERED_MODEL
from augserve.models.serving.bundle import load_bundle
from augserve.pipeline.package.registration import HEADLINE

pytestmark = pytest.mark.slow

WITH_MLFLOW_SKINNY = """
import sys
for name in ("sqlalchemy", "alembic", "flask", "pandas", "sklearn", "matplotlib", "scipy", "docker", "graphene"):
    sys.modules[name] = None  # the extra `registry` brings none of them
from augserve.pipeline.cli.__main__ import main
main(sys.argv[1:])
"""


def test_two_versions_are_ticked_and_compared(
    visit: Callable[..., Any], ui: str, metrics_of: Callable[[int], dict[str, float]]
) -> None:
    seen = visit(1400, 1000)
    page: Page = seen.page
    page.add_locator_handler(page.get_by_role("button", name="Try it now"), lambda button: button.click())
    page.goto(f"{ui}/#/models")
    page.get_by_role("link", name=REGISTERED_MODEL).click()
    for number in (1, 2):
        of_version = page.get_by_role("row").filter(has=page.get_by_role("link", name=f"Version {number}"))
        of_version.get_by_role("checkbox").check()
    expect(page.get_by_role("row").filter(has_text=re.compile(r"@\s*champion"))).to_have_count(1)
    seen.keep("mlflow-versions")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text("Comparing 2 Versions")).to_be_visible()
    expect(row(page, "max_wait_s").get_by_role("cell")).to_have_text(["60.0", "20.0"])
    show_all(page)
    first, second = metrics_of(1), metrics_of(2)
    names = [f"{metric}/augmentation-mix/llama-3.1-8b-h100/3x" for metric in HEADLINE]
    assert names[0] in first
    assert names[0] in second
    for name in (name for name in names if name in first and name in second):  # few sessions end in so short a run
        shown = [float(text) for text in row(page, name).get_by_role("cell").all_inner_texts()[-2:]]
        assert shown == pytest.approx([first[name], second[name]], rel=0.01, abs=0.01), name
    row(page, name).scroll_into_view_if_needed()
    seen.keep("mlflow-comparison")


def test_a_gpu_server_pulls_the_champion_with_mlflow_s_client_alone(ui: str, project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITH_MLFLOW_SKINNY, "pull", str(tmp_path / "bundle"), "--registry", ui]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    pulled = load_bundle(tmp_path / "bundle", None).version
    assert f"bundle {pulled} (version " in ended.stdout
    assert pulled in {load_bundle(path, None).version for path in project.glob("mlartifacts/*/artifacts/bundle")}
    unknown = [*command[:4], "99", *command[4:]]
    ended = subprocess.run(unknown, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == f"error: registered model {REGISTERED_MODEL}: no version '99'; the last are 1, 2\n"


def show_all(page: Page) -> None:
    """Of parameters and metrics also what does not differ."""
    for switch in page.get_by_role("switch").all():
        if switch.get_attribute("aria-checked") == "true":
            switch.click()


def row(page: Page, name: str) -> Locator:
    """Of the tables of the comparison; an icon may follow the name. (A regular expression here bears no slash.)"""
    pattern = re.escape(name).replace("/", ".")
    header = page.get_by_role("rowheader", name=re.compile(rf"^{pattern}\W*$"))
    return page.get_by_role("row").filter(has=header)
