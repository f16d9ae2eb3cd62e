"""The commands of `augserve`, a module each."""
