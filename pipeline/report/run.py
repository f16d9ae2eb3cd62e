"""Stage `report`: reports/index.html, one self-contained page, and reports/headline.md, its main tables.

`make compare`, `make fidelity` and `make live` run the stage again, because the page shows their results too.
"""

import logging
from pathlib import Path

from ...data.atomic import write_text
from ..results.documents import headline_markdown
from ..results.metrics_file import read_results
from ..results.tables import markdown, policies
from ..results.tuning import Selection
from .page import page

REPORTS = Path("reports")
PAGE = REPORTS / "index.html"
HEADLINE = REPORTS / "headline.md"
SELECTION = Path("models/tuned/selection.json")

logger = logging.getLogger(__name__)


def main() -> None:
    results = read_results(REPORTS / "evaluate" / "metrics.json")
    write_text(HEADLINE, headline := headline_markdown(results, Selection.read(SELECTION)))
    write_text(PAGE, html := page(REPORTS, headline, markdown(policies(results))))
    logger.info("%s: %d kB, self-contained; open it in a browser", PAGE, len(html.encode()) // 1000)
