"""models/champion.json: the result of the longest search so far, kept in the repository; every later search starts
from it."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...data.atomic import write_json
from ...models.serving.settings import SchedulerSettings
from ..project.tracking import git_revision
from .select import Selected
from .space import Space, searchable, with_values

FORMAT = 1

logger = logging.getLogger(__name__)


def read_champion(path: Path, space: Space) -> SchedulerSettings | None:
    """The champion's settings on the engine of `space`; None, with one line of the log, where there are none."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] == FORMAT:
            return with_values(space.defaults, document["settings"])
        cause = f"format {document['format']}, not {FORMAT}"
    except FileNotFoundError:
        logger.info("tune: no %s yet; the search starts from the defaults; `make tune-long` writes one", path)
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = str(error)
    logger.warning("tune: %s: %s; the search starts from the defaults; `make tune-long` writes a new one", path, cause)
    return None


def write_champion(path: Path, winner: Selected, study: Mapping[str, Any]) -> None:
    """Write the winner of a long search, with the facts of its `study`."""
    settings = winner.candidate.settings
    scores = {"search": round(winner.tune.mean, 4), "selection": round(winner.score.mean, 4)}
    facts = {"date": datetime.now(UTC).date().isoformat(), "revision": git_revision(), **study, "scores": scores}
    write_json(path, {"format": FORMAT, "settings": searchable(settings), "study": facts})
