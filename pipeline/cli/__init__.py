"""The product command: `augserve COMMAND …`."""
