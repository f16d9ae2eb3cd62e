"""The places of sessions, shared by the API servers of a host in a file that they map into memory."""

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Final

_SLOT: Final = struct.Struct("<16sId4x")
BUCKETS, WAYS = 8192, 8
"""65536 sessions. A new one takes the place of the one in its bucket that was not seen for longest."""
KEY_BYTES = 16
FILE = "places"


class SharedPlaces:
    """The rank of each session by its key of KEY_BYTES. Raises OSError where the file cannot be made.

    There is no lock: of two servers that place one new session at once the last one wins, and a slot that is read
    while it is written does not hold the key.
    """

    def __init__(self, folder: Path) -> None:
        file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(file, BUCKETS * WAYS * _SLOT.size)
            self._map = mmap.mmap(file, 0)
        finally:
            os.close(file)

    def get(self, key: bytes) -> int | None:
        return next((rank for _, known, rank, seen_s in self._slots(key) if known == key and seen_s), None)

    def put(self, key: bytes, rank: int) -> None:
        slots = self._slots(key)
        own = next((slot for slot in slots if slot[1] == key), None)
        offset = (own or min(slots, key=lambda slot: slot[3]))[0]
        _SLOT.pack_into(self._map, offset, key, rank, time.time())

    def _slots(self, key: bytes) -> list[tuple[int, bytes, int, float]]:
        """(offset, key, rank, time last seen) of the key's bucket; a slot that was never used has time 0."""
        first = int.from_bytes(key[:4], "little") % BUCKETS * WAYS
        offsets = range(first * _SLOT.size, (first + WAYS) * _SLOT.size, _SLOT.size)
        return [(offset, *_SLOT.unpack_from(self._map, offset)) for offset in offsets]
