import asyncio
import itertools
import json

import pytest

from augserve.data.tables.files import rows_to_table, write_table
from augserve.data.workload.arrivals import Poisson, Recorded
from augserve.data.workload.mix import MIX
from augserve.data.workload.token_ids import session_token_ids
from augserve.models.serving.settings import Slo
from augserve.pipeline.cli.__main__ import main
from augserve.pipeline.server.endpoint import Endpoint, ReplayError
from augserve.pipeline.server.replay.load import build_load
from augserve.pipeline.server.replay.run import replay
from augserve.pipeline.server.replay.settings import ReplaySettings
from augserve.pipeline.server.replay.turn_request import Identity

TURNS = ((30, 4), (60, 3), (90, 5))  # prompt and output tokens of a session's turns
PAUSE_S = 0.15
PATIENT = Slo(60.0, 60.0)  # a busy machine is no miss


@pytest.fixture
def traces(tmp_path):
    """Four sessions, 0.1 s apart; each of three turns with a pause between."""
    rows = []
    for number in range(4):
        at = 50.0 + 0.1 * number
        for turn, (prompt, output) in enumerate(TURNS):
            rows.append(
                {
                    "source": "made",
                    "session_id": f"s{number}",
                    "turn": turn,
                    "arrival_s": at,
                    "finish_s": at + 1.0,
                    "prompt_tokens": prompt,
                    "output_tokens": output,
                }
            )
            at += 1.0 + PAUSE_S
    folder = tmp_path / "traces"
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", rows))
    return folder


def settings(traces, server, **other):
    facts = {"arrivals": Recorded(), "rate_per_s": None, "duration_s": None, "slo": PATIENT, **other}
    return ReplaySettings(str(traces), Endpoint.parse(server.url), None, seed=1, **facts)


def run_replay(traces, server, **other):
    return asyncio.run(replay(settings(traces, server, **other)))


def of_session(found, name="made:s0"):
    return [turn for turn in found.turns if turn.session_id == name]


def test_every_turn_is_sent_once_with_its_lengths(traces, fake):
    found = run_replay(traces, fake)
    sent = sorted((turn.session_id, turn.turn, turn.prompt_tokens, turn.output_tokens) for turn in found.turns)
    assert sent == [(f"made:s{n}", turn, *lengths) for n in range(4) for turn, lengths in enumerate(TURNS)]
    metrics = found.metrics()
    assert (metrics["turns"], metrics["attainment"], metrics["other_length_turns"]) == (12, 1.0, 0)
    assert {"tpot_p99_s", "normalized_latency_mean_s", "ttft_p50_s", "session_effective_throughput"} <= set(metrics)
    assert "preemptions" not in metrics  # not told is not none


def test_a_prompt_extends_the_previous_prompt_and_output(traces, fake):
    run_replay(traces, fake)
    prompts = sorted((body["prompt"] for body in fake.bodies), key=len)
    for prompt in prompts:
        if len(prompt) == TURNS[1][0]:
            before = next(p for p in prompts if len(p) == TURNS[0][0] and p == prompt[: TURNS[0][0]])
            said = prompt[len(before) : len(before) + TURNS[0][1]]
            assert said == [40_000, 40_001, 40_002, 40_003]
    assert len({tuple(p[:8]) for p in prompts}) == 4  # sessions share no prefix


def test_vllm_gets_the_exact_length_and_other_servers_a_plain_request(traces, fake):
    run_replay(traces, fake)
    assert all(body["ignore_eos"] and body["min_tokens"] == body["max_tokens"] for body in fake.bodies)
    fake.bodies.clear()
    fake.vllm, fake.shorter_by = False, 1
    found = run_replay(traces, fake)
    known = {"model", "prompt", "max_tokens", "stream", "stream_options"}
    assert all(set(body) == known for body in fake.bodies)
    assert found.metrics()["other_length_turns"] == 12
    ids = {
        session.session_id: session_token_ids(session) for session in build_load(settings(traces, fake), None).sessions
    }
    assert all(any(body["prompt"] == own[: len(body["prompt"])] for own in ids.values()) for body in fake.bodies)


def test_a_turn_arrives_after_the_previous_turn_and_its_tool(traces, fake):
    turns = of_session(run_replay(traces, fake))
    assert [turn.turn for turn in turns] == [0, 1, 2]
    for before, after in itertools.pairwise(turns):
        assert after.due_s == pytest.approx(before.finish_s + PAUSE_S, abs=1e-6)
        assert after.sent_s >= after.due_s


def test_sessions_start_on_time_while_the_server_is_silent(traces, fake):
    fake.gather = 4  # no token before all four sessions wait for one: a closed loop would hang
    found = run_replay(traces, fake)
    starts = [turn.due_s for turn in found.turns if turn.turn == 0]
    assert starts == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=1e-6)
    assert fake.most_at_once == 4
    first = of_session(found)[0]
    assert first.first_token_s - first.due_s >= 0.3  # the wait counts, from when the turn was due


def test_ids_and_hints_are_sent_only_on_request(traces, fake):
    run_replay(traces, fake)
    assert not any("x-session-id" in headers for headers in fake.headers)
    assert not any("vllm_xargs" in body for body in fake.bodies)
    fake.bodies.clear()
    fake.headers.clear()
    run_replay(traces, fake, identity=Identity(session_ids=True, hints=True))
    assert {headers["x-session-id"] for headers in fake.headers} == {f"made:s{number}" for number in range(4)}
    assert all(body["vllm_xargs"] == {"augserve_tools_offered": 1} for body in fake.bodies)


def test_failed_turns_are_misses_by_reason_and_end_their_session(traces, fake):
    fake.fail = lambda body: (400, '{"error": {"message": "too long"}}') if len(body["prompt"]) == 60 else None
    found = run_replay(traces, fake)
    assert found.failures() == {"HTTP 400": {"turns": 4, "first": "too long"}}
    metrics = found.metrics()
    assert (metrics["turns"], metrics["attainment"], metrics["unfinished"]) == (8, 0.5, 4)
    assert (metrics["failed"], metrics["unsent_turns"], metrics["session_effective_throughput"]) == (4, 4, 0)


@pytest.mark.parametrize(("flaw", "reason"), [("cut", "stream ended early"), ("garbage", "unreadable stream")])
def test_a_broken_stream_is_a_miss_with_its_reason(traces, fake, flaw, reason):
    setattr(fake, flaw, True)
    with pytest.raises(ReplayError, match=reason):
        run_replay(traces, fake)


def test_turns_after_the_duration_are_not_sent_and_hanging_turns_are_unfinished(traces, fake):
    fake.delay_s = 30.0
    found = run_replay(traces, fake, duration_s=0.25, drain_s=1.0)
    assert {turn.session_id for turn in found.turns} == {"made:s0", "made:s1", "made:s2"}
    metrics = found.metrics()
    assert (metrics["turns"], metrics["unfinished"], metrics["failed"]) == (3, 3, 0)
    assert metrics["longest_wait_s"] >= 0.4


def test_no_server_is_one_clear_error(traces, capsys):
    with pytest.raises(SystemExit):
        main(["replay", str(traces), "--url", "http://127.0.0.1:9"])
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith("error: http://127.0.0.1:9/v1/models: connection refused; start the server or correct --url")
    )


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--rate", "0"], "--rate is 0.0; it must be a positive number"),
        (["--rate", "-2"], "--rate is -2.0"),
        (["--duration", "nan"], "--duration is nan"),
        (["--arrivals", "gamma:0"], "the CV of gamma is 0.0"),
        (["--arrivals", "sometimes"], "'sometimes' is unknown"),
        (["--url", "here"], "'here' is no address of a server"),
        (["--slo-ttft-s", "nan"], "ttft_s"),
        (["--model", "large"], "'large' is not served at"),
        (["--agents", "0"], "0 agents asked for; ask for 1 or more"),
        (["--agents", "2", "--rate", "1"], "--rate: it sets an open loop, and --agents a closed one"),
        (["--agents", "2", "--arrivals", "poisson"], "--arrivals: it sets an open loop"),
        (["--agents", "2", "--pause-cap", "-1"], "a pause cap of -1.0 s"),
        (["--pause-cap", "1"], "--pause-cap: only a closed loop cuts pauses"),
        (["--warmup", "-1", "--duration", "1"], "--warmup is -1.0"),
        (["--warmup", "5"], "--warmup: the measured window after it has no end"),
        (["--drain", "nan"], "--drain is nan"),
        (["--seed", "-1"], "--seed is -1"),
    ],
)
def test_a_bad_argument_is_one_line(traces, fake, capsys, arguments, cause):
    with pytest.raises(SystemExit):
        main(["replay", str(traces), *(["--url", fake.url] if "--url" not in arguments else []), *arguments])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert cause in line


def test_a_missing_folder_is_an_error_of_one_line(fake, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["replay", str(tmp_path / "none"), "--url", fake.url])
    assert "none: no such file" in capsys.readouterr().err


def test_the_report_is_a_table_and_a_file_of_all_turns(traces, fake, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    out = tmp_path / "out" / "replay.json"
    main(["replay", str(traces), "--url", f"{fake.url}/v1/", "--out", str(out)])
    report = json.loads(out.read_text())
    assert report["metrics"]["turns"] == len(report["turns"]) == 12
    assert report["settings"]["model"] == "tiny"
    assert "secret" not in out.read_text()
    assert fake.headers[0]["authorization"] == "Bearer secret"
    assert "effective_throughput" in capsys.readouterr().out


def test_the_mix_runs_within_the_server_s_context(fake):
    chosen = ReplaySettings(MIX, Endpoint.parse(fake.url), None, Poisson(), 2.0, 5.0, seed=3)
    load = build_load(chosen, 900)
    assert load.sessions
    assert load.adjustments.cut_sessions + load.adjustments.left_out_sessions > 0
    assert all(s.prompt_tokens(len(s.turns) - 1) + s.turns[-1].output_tokens <= 900 for s in load.sessions)


def test_the_mix_has_no_recorded_arrivals(fake, capsys):
    with pytest.raises(SystemExit):
        main(["replay", MIX, "--url", fake.url, "--arrivals", "recorded"])
    assert "has no recorded arrivals" in capsys.readouterr().err


def test_with_the_client_s_limit_a_stop_token_ends_the_output(traces, fake):
    run_replay(traces, fake, identity=Identity(client_limit=True))
    lengths = sorted(body["min_tokens"] + 1 for body in fake.bodies)
    assert lengths == sorted([output for _, output in TURNS] * 4)
    limits = {body["max_tokens"] for body in fake.bodies}
    assert len(limits) == 1  # the session's, the same for all its turns
    assert {str(body["stop_token_ids"]) for body in fake.bodies} == {"[2]"}
    assert {str(body["logit_bias"]) for body in fake.bodies} == {"{'2': 100.0}"}
