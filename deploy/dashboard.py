"""Write Grafana's dashboard from the description in panels.py: `python -m deploy.dashboard`."""

import json
from pathlib import Path
from typing import Any

from augserve.data.atomic import write_text

from .panels import ROWS, Panel

OUTPUT = Path("deploy/grafana/augserve.json")
COLUMNS, WIDTH, HEIGHT = 2, 12, 8  # Grafana's grid is 24 wide
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def main() -> None:
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    write_text(OUTPUT, rendered())


def rendered() -> str:
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        place = {"h": 1, "w": COLUMNS * WIDTH, "x": 0, "y": top}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        top += 1
        for number, panel in enumerate(row.panels):
            place = {"h": HEIGHT, "w": WIDTH, "x": number % COLUMNS * WIDTH, "y": top + number // COLUMNS * HEIGHT}
            panels.append(_panel(panel, len(panels) + 1, place))
        top += -(-len(row.panels) // COLUMNS) * HEIGHT
    return {
        "uid": "augserve",
        "title": "AugServe",
        "description": "Written by deploy/dashboard.py: change deploy/panels.py instead.",
        "tags": ["augserve", "vllm"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "annotations": {"list": []},
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query.promql, "legendFormat": query.legend}
        for index, query in enumerate(panel.queries)
    ]
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}}
    if panel.kind == "stat":
        options = {"textMode": "name", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.advice,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": options,
    }


if __name__ == "__main__":
    main()
