"""The two bundles of an engine, as turns and the label `bundle` of metrics name them."""

CHAMPION, CANDIDATE = "champion", "candidate"
"""The one that decides, and the one that forecasts for a share of the sessions."""
