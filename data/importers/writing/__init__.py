"""Writing the rows of an import: checked, counted, and streamed into the three tables."""
