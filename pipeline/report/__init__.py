"""Stage `report`, and all that tells what an evaluation found: intervals, tables, figures, targets, and the page."""
