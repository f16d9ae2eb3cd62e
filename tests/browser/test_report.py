"""reports/index.html as a reader opens it: from a file, on a phone and on a desktop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from augserve.data.workload.mix import MIX, MIX_SWING
from augserve.pipeline.project.paths import PAGE

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("name", "width", "height"), [("phone", 390, 844), ("desktop", 1280, 900)])
def test_the_page_fits_shows_its_headline_and_makes_no_request(
    visit: Callable[..., Any], project: Path, name: str, width: int, height: int
) -> None:
    seen = visit(width, height)
    errors: list[str] = []
    seen.page.on("pageerror", lambda error: errors.append(str(error)))
    seen.page.goto((project / PAGE).as_uri())
    seen.keep(f"report-{name}")
    headline = seen.page.get_by_role("heading", level=1)
    expect(headline).to_be_visible()
    expect(headline).to_be_in_viewport()
    for workload in (MIX, MIX_SWING):
        expect(seen.page.get_by_text(f"{workload} on llama-3.1-8b-h100").first).to_be_attached()
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert (seen.outside, errors) == ([], [])
