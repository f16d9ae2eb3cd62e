from deploy.dashboard import COLUMNS, OUTPUT, WIDTH, dashboard, rendered
from deploy.panels import ROWS

PANELS = [panel for row in ROWS for panel in row.panels]


def test_the_file_is_what_the_description_gives() -> None:
    """Otherwise run `python -m deploy.dashboard`."""
    assert OUTPUT.read_text(encoding="utf-8") == rendered()


def test_no_two_panels_overlap_and_all_are_on_grafana_s_grid() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells
        assert all(x < COLUMNS * WIDTH for x, _ in taken)
        cells |= taken


def test_every_panel_says_what_to_do_and_has_a_name_of_its_own() -> None:
    assert len({panel.title for panel in PANELS}) == len(PANELS)
    assert all(panel.advice.endswith(".") and panel.queries for panel in PANELS)
