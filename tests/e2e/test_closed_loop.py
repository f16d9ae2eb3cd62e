"""Twelve agents in a closed loop against a real server: client, recorder and the server's counters tell the same."""

import itertools
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from augserve.data.tables.files import TraceError, read_table, rows_to_table, write_table
from augserve.data.tables.pseudonyms import Pseudonyms
from augserve.pipeline.cli.__main__ import main
from augserve.pipeline.server.process import hook_arguments, vllm_server
from augserve.runtime.recording.rows import session_name

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AGENTS, SESSIONS = 12, 16
SYSTEM_TOKENS = 64
AGENT_TOKENS = 20  # of a sub-agent's first prompt, after its parent's
BLOCK_TOKENS = 32
DURATION_S = 14.0  # the agents begin in the first 11
CLOCK_S = 0.002  # between two readings of one host's clocks
NEAR_S = 0.5  # at the median, also on a busy machine
APART_S = 0.5  # turns sent further apart arrive in this order
RECORDER_S = 60.0  # the recorder writes its open buffer within this
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}  # threads that wait for each other are slow beside other tests
COUNTERS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:request_success_total")
Turns = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions of four turns that share a system prompt. The second starts a sub-agent with its prompt."""
    folder = tmp_path_factory.mktemp("workload")
    random = np.random.default_rng(3)
    rows: list[dict[str, object]] = []

    def add(session_id: str, turn: int, at_s: float, prompt: int, output: int, **other: object) -> float:
        facts = {"source": "made", "session_id": session_id, "turn": turn, "arrival_s": at_s, "finish_s": at_s + 0.1}
        rows.append({**facts, "prompt_tokens": prompt, "output_tokens": output, **other})
        return at_s + 0.1

    for number in range(SESSIONS):
        name, at_s, context = f"s{number}", 100.0 * number, SYSTEM_TOKENS
        for turn in range(4):
            prompt, output = context + int(random.integers(5, 90)), int(random.integers(2, 9))
            at_s = add(name, turn, at_s, prompt, output, prefix_id="system", prefix_tokens=SYSTEM_TOKENS)
            context = prompt + output
            at_s += float(random.uniform(0.05, 0.6))
            if turn == 1:
                parent = {"parent_session_id": name, "prefix_id": name, "prefix_tokens": prompt}
                at_s = add(f"agent of {name}", 0, at_s, prompt + AGENT_TOKENS, 4, **parent)
                at_s = add(f"agent of {name}", 1, at_s + 0.1, prompt + 2 * AGENT_TOKENS, 3, **parent)
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", rows))
    return folder


@pytest.fixture(scope="module")
def run(
    traces: Path, model_folder: Path, bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Turns, dict[str, float]]:
    """The client's report, the recorder's turns, and the increases of the server's counters."""
    folder = tmp_path_factory.mktemp("run")
    hook = hook_arguments({"bundle": str(bundle_folder), "traces": str(folder / "recorded")})
    arguments = ["--enable-prompt-tokens-details", *hook]
    with vllm_server(model_folder, log=folder / "server.log", extra_args=arguments, environment=ENVIRONMENT) as server:
        before, out = counters(server.url), folder / "replay.json"
        loop = ["--agents", str(AGENTS), "--duration", str(DURATION_S), "--warmup", "0", "--drain", "60"]
        main(["replay", str(traces), "--url", server.url, *loop, "--session-ids", "--hints", "--out", str(out)])
        after, report = counters(server.url), json.loads(out.read_text())
        rows = recorded_turns(folder / "recorded", len(report["turns"]))
        names = Pseudonyms.kept_in(folder / "recorded")
    ids = {session_name(turn["session_id"], names): turn["session_id"] for turn in report["turns"]}
    for row in rows:
        row |= {name: ids.get(row[name]) for name in ("session_id", "parent_session_id")}
    return report, by_turn(rows), {name: after[name] - before.get(name, 0.0) for name in after}


def recorded_turns(folder: Path, count: int) -> list[dict[str, Any]]:
    """The recorder's turns, as soon as it has written as many as `count`."""
    deadline_s = time.monotonic() + RECORDER_S
    rows: list[dict[str, Any]] = []
    while len(rows) < count and time.monotonic() < deadline_s:
        time.sleep(0.5)
        with suppress(TraceError):  # nothing is written yet
            rows = read_table(folder, "turns").to_pylist()
    assert len(rows) == len(by_turn(rows))
    return rows


def counters(url: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in httpx.get(f"{url}/metrics", trust_env=False).text.splitlines():
        sample, _, value = line.rpartition(" ")
        name = sample.split("{", 1)[0]
        if name in COUNTERS:
            found[name] = found.get(name, 0.0) + float(value)
    return found


def by_turn(rows: list[dict[str, Any]]) -> Turns:
    return {(row["session_id"], row["turn"]): row for row in rows}


def test_every_turn_is_answered_and_recorded_once_with_its_lengths_and_its_parent(run) -> None:
    report, rows, _ = run
    assert report["turn_counts"] | {"unsent": 0} == {
        "answered": len(report["turns"]),
        "failed": 0,
        "cancelled": 0,
        "unsent": 0,
    }
    seen = by_turn(report["turns"])
    assert len(seen) == len(report["turns"]) > 2 * AGENTS
    assert set(rows) == set(seen)
    for key, row in rows.items():
        turn = seen[key]
        assert turn["prompt_tokens"] == turn["prompt_asked"]
        assert turn["output_tokens"] == turn["output_asked"]
        for recorded, told in (
            ("parent_session_id", "parent_id"),
            ("prompt_tokens", "prompt_tokens"),
            ("output_tokens", "output_tokens"),
            ("cached_tokens", "cached_tokens"),
            ("finish_reason", "finish_reason"),
        ):
            assert row[recorded] == turn[told], (key, recorded)
    assert sum(row["parent_session_id"] is not None for row in rows.values()) > AGENTS / 2


def test_twelve_agents_are_under_way_at_once_and_never_more(run) -> None:
    report, _, _ = run
    spans: dict[str, list[float]] = {}
    for turn in report["turns"]:
        if turn["parent_id"] is None:
            spans.setdefault(turn["session_id"], []).extend((turn["due_s"], turn["finish_s"]))
    begins_s = {session_id: min(times) for session_id, times in spans.items()}
    at_once = [sum(begins_s[other] <= begin_s < max(spans[other]) for other in spans) for begin_s in begins_s.values()]
    assert max(at_once) <= AGENTS
    assert len(spans) > AGENTS


def test_a_sub_agent_finds_its_parent_s_context_in_the_cache(run) -> None:
    _, rows, _ = run
    firsts = [(key, row) for key, row in rows.items() if row["parent_session_id"] is not None and not row["turn"]]
    for key, row in firsts:
        shared = row["prompt_tokens"] - AGENT_TOKENS
        assert row["cached_tokens"] == shared // BLOCK_TOKENS * BLOCK_TOKENS > 0, key


def test_turns_arrive_and_end_when_the_client_says(run) -> None:
    report, rows, _ = run
    seen, started_at_s = by_turn(report["turns"]), report["started_at_s"]
    for recorded, told in (("arrival_s", "sent_s"), ("first_token_s", "first_token_s"), ("finish_s", "finish_s")):
        received_s = [started_at_s + seen[key][told] - row[recorded] for key, row in rows.items()]
        late_s = [-each for each in received_s] if recorded == "arrival_s" else received_s  # on its way to the other
        assert min(late_s) >= -CLOCK_S, recorded
        assert np.median(late_s) < NEAR_S, recorded
    arrived = [key for key, _ in sorted(rows.items(), key=lambda item: item[1]["arrival_s"])]
    sent_s = [seen[key]["sent_s"] for key in arrived]
    latest_s = itertools.accumulate(sent_s, max)
    assert all(latest - at < APART_S for latest, at in zip(latest_s, sent_s, strict=True))


def test_the_server_counts_what_the_client_reports(run) -> None:
    report, _, counted = run
    turns, metrics = report["turns"], report["metrics"]
    assert counted["vllm:request_success_total"] == len(turns)
    assert counted["vllm:prompt_tokens_total"] == sum(turn["prompt_tokens"] for turn in turns)
    assert counted["vllm:generation_tokens_total"] == sum(turn["output_tokens"] for turn in turns)
    assert metrics["preemptions"] == 0
    cached, prompts = (sum(turn[name] for turn in turns) for name in ("cached_tokens", "prompt_tokens"))
    assert metrics["prefix_hit_rate"] == pytest.approx(cached / prompts)
