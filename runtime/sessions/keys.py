"""The keys of sessions: distinct between tenants and bounded in length, whatever ids callers choose."""

import hashlib

LONGEST = 64
"""Characters of an id that is its own key, where the caller has no tenant. vLLM's request ids have fewer."""
READ = 1 << 16
"""Characters of an id that count; hashing all of an id of 30 MB would hold up the engine."""
HASHED = "#"
"""Begins each key that is a hash, and no other."""


def session_key(session_id: str, tenant: str | None) -> str:
    """The key of the session that a caller of this tenant names, of at most LONGEST characters.

    A hash (BLAKE2, 16 bytes) of tenant and id. Without a tenant, a short id stays as it is. The same tenant and id have
    the same key in every process, so that recorded sessions outlive a restart.
    """
    if tenant is None and len(session_id) <= LONGEST and not session_id.startswith(HASHED):
        return session_id
    owner = "" if tenant is None else f"{len(tenant)}:{tenant}"
    text = f"{owner}\0{session_id[:READ]}"
    return HASHED + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
