from augserve.pipeline.server.replay.lag import client_lag
from augserve.pipeline.server.replay.runner import ReplayedTurn


def turn(late_s):
    return ReplayedTurn(
        session_id="s",
        kind="made",
        turn=0,
        last=True,
        due_s=10.0,
        prompt_asked=5,
        output_asked=5,
        sent_s=10.0 + late_s,
    )


def test_a_punctual_client_keeps_up():
    assert client_lag([turn(0.001)] * 100, [0.002] * 100).keeps_up


def test_late_turns_are_a_warning():
    lag = client_lag([turn(0.001)] * 90 + [turn(0.4)] * 10, [0.0])
    assert not lag.keeps_up
    assert "turns were sent 400 ms late" in lag.warning()
    assert lag.send_max_s == 0.4 or abs(lag.send_max_s - 0.4) < 1e-9


def test_a_slow_event_loop_is_detected_with_few_turns():
    assert not client_lag([turn(0.0)], [0.3] * 50).keeps_up
