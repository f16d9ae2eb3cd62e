"""Commands for bundles and the versions in a registry."""
