"""Faults of the server of test_server.py under load. The last one ends it."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from augserve.data.tables.files import read_table
from augserve.models.serving.bundle import load_bundle
from augserve.pipeline.server.process import Server

from .bundles import another_bundle, put
from .conftest import SEATS
from .faults import Load, SteeredHost, engine_of, limit_files
from .test_server import metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOUR_S = 3600.0
LOST_S = 2.5
LONGEST_S = 60.0
SLOW_S = 1.0
MOST_SCHEDULE_S = 0.25
RELOADS_S = 2.3
"""Time after which the engine's watcher has seen a new bundle twice, and tries it."""


def under_load(server: Server, fault: Callable[[Load], Awaitable[None]]) -> Load:
    async def run() -> Load:
        async with Load(server, clients=SEATS) as load:
            await answered(load, 2 * SEATS)
            await fault(load)
        return load

    return asyncio.run(run())


async def answered(load: Load, more: int) -> None:
    """Wait for that many further answers."""
    wanted, end_s = len(load.statuses) + more, time.monotonic() + LONGEST_S
    while len(load.statuses) < wanted and time.monotonic() < end_s:
        await asyncio.sleep(0.02)


def recorded(server: Server) -> list[dict[str, float]]:
    """The recorded turns; reads, and checks, every file."""
    return list(read_table(server.log.parent / "traces", "turns").to_pylist())


def dropped_rows(server: Server) -> float:
    return metrics(server)["augserve_recorder_dropped_total"]


def test_steps_of_the_system_s_clock_by_an_hour_move_no_arrival(server: Server, host: SteeredHost) -> None:
    async def step(load: Load) -> None:
        for step_s in (HOUR_S, -HOUR_S, 0.0):
            host.step_clock(step_s)
            await answered(load, SEATS)

    begun_s = time.time()
    load = under_load(server, step)
    assert max(load.created) - min(load.created) > 1.9 * HOUR_S, "the server's clock was stepped"
    time.sleep(LOST_S)
    turns = [turn for turn in recorded(server) if str(turn["finish_reason"]) == "length" and turn["finish_s"] > begun_s]
    assert set(load.statuses) == {200}
    assert len(turns) == len(load.statuses)
    for turn in turns:
        assert begun_s - 1.0 < turn["arrival_s"] <= turn["first_token_s"] <= turn["finish_s"] < time.time()
    assert metrics(server).get("augserve_fallbacks_total", 0.0) == 0.0


def test_a_slow_disk_keeps_no_request_waiting_and_loses_no_row(server: Server, host: SteeredHost) -> None:
    async def slow(load: Load) -> None:
        host.slow_disk(SLOW_S)
        end_s = time.monotonic() + 3 * SLOW_S
        while time.monotonic() < end_s:
            await answered(load, SEATS)
        host.slow_disk(0.0)

    before, dropped, begun_s = len(recorded(server)), dropped_rows(server), time.time()
    load = under_load(server, slow)
    time.sleep(SLOW_S + LOST_S)
    assert set(load.statuses) == {200}
    assert len(recorded(server)) - before == len(load.statuses)
    assert dropped_rows(server) == dropped
    steps = read_table(server.log.parent / "traces", "steps").to_pylist()
    assert max(step["schedule_s"] for step in steps if step["start_s"] > begun_s) < MOST_SCHEDULE_S


def test_a_full_disk_costs_rows_and_no_request(server: Server) -> None:
    async def fill(load: Load) -> None:
        limit_files(engine_of(server), 10)
        end_s = time.monotonic() + LOST_S
        while time.monotonic() < end_s:
            await answered(load, SEATS)
        limit_files(engine_of(server), None)
        await answered(load, 2 * SEATS)

    before, dropped = len(recorded(server)), dropped_rows(server)
    load = under_load(server, fill)
    time.sleep(2 * LOST_S)
    assert set(load.statuses) == {200}
    assert len(recorded(server)) - before + dropped_rows(server) - dropped >= len(load.statuses)


def test_an_engine_killed_in_a_reload_loses_the_last_rows_alone_and_leaves_no_broken_file(
    server: Server, served_bundle: Path, tmp_path: Path
) -> None:
    killed_s = 0.0
    version = ""

    async def kill(load: Load) -> None:
        nonlocal killed_s, version
        await answered(load, 4 * SEATS)
        version = put(another_bundle(served_bundle, tmp_path / "bundle", 9), served_bundle)
        await asyncio.sleep(RELOADS_S)
        killed_s = time.time()
        os.kill(engine_of(server), signal.SIGKILL)
        end_s = time.monotonic() + LONGEST_S
        while set(load.statuses) == {200} and time.monotonic() < end_s:
            await asyncio.sleep(0.02)

    load = under_load(server, kill)
    assert set(load.statuses) - {200}, "the clients see that their server has gone"
    assert load.statuses.index(200) == 0
    lost_s = killed_s - max(turn["finish_s"] for turn in recorded(server))
    assert lost_s < LOST_S
    assert load_bundle(served_bundle, None).version == version
