"""The documentation site as `make docs` builds it: its links, and its pages on a phone and on a desk."""

import functools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "site"
HOST = "http://site"
PAGES = (
    "",
    "guide/deploy/",
    "guide/watch/",
    "concepts/",
    "results/",
    "lab/2026-11-25-scheduling/",
    "reference/configuration/",
)


class Page(HTMLParser):
    """The ids and the links of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif value and ((name == "href" and tag != "link") or name == "src"):
                self.links.append(value)


@pytest.fixture(scope="module")
def site() -> Path:
    subprocess.run([sys.executable, "-m", "docs.tables"], cwd=ROOT, check=True)
    zensical = Path(sys.executable).with_name("zensical")
    subprocess.run([zensical, "build", "--clean", "--strict"], cwd=ROOT, check=True)
    return SITE


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Keeps pytest's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_every_link_inside_the_site_leads_to_a_page_and_an_anchor_that_exist(site: Path) -> None:
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > len(PAGES)
    broken = []
    for path, page in pages.items():
        base = f"{HOST}/{path.relative_to(site).as_posix().removesuffix('index.html')}"
        for link in page.links:
            url = urlsplit(urljoin(base, link))
            if f"{url.scheme}://{url.netloc}" != HOST:
                continue
            target = site / unquote(url.path).lstrip("/")
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].ids if target in pages else set()
            if not target.is_file() or (url.fragment and unquote(url.fragment) not in anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


@pytest.mark.parametrize(("name", "width", "height"), [("phone", 390, 844), ("desktop", 1280, 900)])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_the_screen_and_needs_nothing_from_outside(
    visit: Callable[..., Any], address: str, page: str, name: str, width: int, height: int
) -> None:
    seen = visit(width, height)
    errors: list[str] = []
    seen.page.on("pageerror", lambda error: errors.append(str(error)))
    seen.page.goto(address + page)
    seen.keep(f"site-{page.replace('/', '-')}{name}")
    assert seen.page.get_by_role("heading", level=1).first.is_visible()
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert (seen.outside, errors) == ([], [])
