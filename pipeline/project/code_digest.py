"""A digest of source folders, for the keys of cached results and resumed studies."""

import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2]


@cache
def code_digest(*folders: str) -> str:
    """SHA-256 over the paths and bytes of all Python files in `folders`, named relative to the package."""
    digest = hashlib.sha256()
    for folder in sorted(folders):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(PACKAGE)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
