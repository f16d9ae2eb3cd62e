"""Stage `report`: reports/index.html, one page to send to a colleague, and the headline table as Markdown.

`make compare`, `make fidelity` and `make live` call it again, since their results stand on the page too.
"""

import logging
from pathlib import Path

from ...data.atomic import write_text
from ..results.metrics_file import read_results
from ..results.tuning import Selection
from .headline import headline_markdown
from .page import Sources, page

REPORTS = Path("reports")
PAGE = REPORTS / "index.html"
HEADLINE = REPORTS / "headline.md"
SELECTION = Path("models/tuned/selection.json")

logger = logging.getLogger(__name__)


def main() -> None:
    optional = {name: REPORTS / name for name in ("compare", "fidelity", "live")}
    sources = Sources(REPORTS / "evaluate", REPORTS / "train", **optional, selection=SELECTION)
    found = read_results(sources.evaluate / "metrics.json")
    write_text(HEADLINE, headline_markdown(found, Selection.read(SELECTION)))
    write_text(PAGE, text := page(sources))
    logger.info("%s: %d kB, of itself; open it in a browser", PAGE, len(text.encode()) // 1000)
