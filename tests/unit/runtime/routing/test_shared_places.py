"""Places that several processes share."""

import hashlib
import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augserve.runtime.routing.shared_places import KEY_BYTES, WAYS, SharedPlaces


def key(name: object) -> bytes:
    return hashlib.blake2b(str(name).encode(), digest_size=KEY_BYTES).digest()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 7)), max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_the_last_place_of_each_session_is_kept(tmp_path: Path, puts: list[tuple[int, int]]) -> None:
    (tmp_path / "places").unlink(missing_ok=True)
    places, last = SharedPlaces(tmp_path), dict[int, int]()
    for name, rank in puts:
        places.put(key(name), rank)
        last[name] = rank
    assert {name: places.get(key(name)) for name in range(31)} == {name: last.get(name) for name in range(31)}


def test_another_process_finds_the_place(tmp_path: Path) -> None:
    places = SharedPlaces(tmp_path)
    code = (
        "import sys; from pathlib import Path; from augserve.runtime.routing.shared_places import SharedPlaces;"
        "SharedPlaces(Path(sys.argv[1])).put(bytes.fromhex(sys.argv[2]), 3)"
    )
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code, str(tmp_path), key("a").hex()], check=True, env=environment)
    assert places.get(key("a")) == 3


def test_a_full_bucket_forgets_the_session_not_seen_for_longest(tmp_path: Path) -> None:
    places = SharedPlaces(tmp_path)
    crowd = [bytes(4) + number.to_bytes(12, "little") for number in range(1, WAYS + 2)]
    for one in crowd[:-1]:
        places.put(one, 1)
    places.put(crowd[0], 2)
    places.put(crowd[-1], 3)
    assert [places.get(one) for one in crowd] == [2, None, *[1] * (WAYS - 2), 3]
