"""Stage `report`: reports/index.html, one self-contained page, and reports/headline.md, its main tables.

`make compare`, `make fidelity` and `make live` run the stage again, because the page shows their results too.
"""

import logging
from pathlib import Path

from ...data.atomic import write_text
from ..results.documents import headline_markdown
from ..results.metrics_file import read_results
from ..results.tuning import Selection
from .page import page

REPORTS = Path("reports")
PAGE = REPORTS / "index.html"
HEADLINE = REPORTS / "headline.md"
SELECTION = Path("models/tuned/selection.json")

logger = logging.getLogger(__name__)


def main() -> None:
    results, selection = read_results(REPORTS / "evaluate" / "metrics.json"), Selection.read(SELECTION)
    write_text(HEADLINE, headline_markdown(results, selection))
    write_text(PAGE, text := page(REPORTS, results, selection))
    logger.info("%s: %d kB, self-contained; open it in a browser", PAGE, len(text.encode()) // 1000)
