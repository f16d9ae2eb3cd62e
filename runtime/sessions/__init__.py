"""The live sessions and turns: their table, their features, and which session a turn continues."""
