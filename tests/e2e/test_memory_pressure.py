"""A machine short of memory under the server: `make soak MINUTES=60`. Tests after it would find a slow machine."""

import os
import time

import pytest

from augserve.pipeline.server.process import Server

from .conftest import SEATS
from .faults import Load, memory_pressure
from .test_server_faults import LOST_S, answered, dropped_rows, recorded, under_load

PRESSED_S = 5.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not float(os.environ.get("SOAK_MINUTES", "0")), reason="`make soak MINUTES=10` runs it"),
]


def test_a_machine_short_of_memory_costs_no_request_and_no_row(server: Server) -> None:
    async def press(load: Load) -> None:
        with memory_pressure():
            end_s = time.monotonic() + PRESSED_S
            while time.monotonic() < end_s:
                await answered(load, SEATS)
        await answered(load, 8 * SEATS)  # until the machine has read again what it had let go

    before, dropped = len(recorded(server)), dropped_rows(server)
    load = under_load(server, press)
    time.sleep(2 * LOST_S)
    assert set(load.statuses) == {200}
    assert len(recorded(server)) - before == len(load.statuses)
    assert dropped_rows(server) == dropped
