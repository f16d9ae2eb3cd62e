"""`augserve COMMAND …`: what a user runs by hand, beside the stages."""
