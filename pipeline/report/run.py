"""Stage `report`: reports/index.html, one self-contained page, and reports/headline.md, its main tables.

`make compare`, `make fidelity` and `make live` run the stage again, because the page shows their results too.
"""

import logging

from ...data.atomic import write_text
from ..project import paths
from ..results.documents import headline_markdown
from ..results.metrics_file import read_results
from ..results.tables import markdown, policies
from ..results.tuning import Selection
from .page import page

HEADLINE = paths.REPORTS / "headline.md"

logger = logging.getLogger(__name__)


def main() -> None:
    results = read_results(paths.EVALUATION_METRICS)
    write_text(HEADLINE, headline := headline_markdown(results, Selection.read(paths.SELECTION)))
    write_text(paths.PAGE, html := page(paths.REPORTS, headline, markdown(policies(results))))
    logger.info("%s: %d kB, self-contained; open it in a browser", paths.PAGE, len(html.encode()) // 1000)
