"""The live sessions and turns, and the linking of turns to sessions."""
