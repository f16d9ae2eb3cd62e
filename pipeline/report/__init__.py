"""Stage `report`: one page of all results, and the headline tables."""
