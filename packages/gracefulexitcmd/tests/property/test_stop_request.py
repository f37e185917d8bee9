"""Any number of stop signals is one request, and only two of them hurry it."""

from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st

from gracefulexitcmd.stop_request import HURRY_AFTER, STOP_SIGNALS, Answer, StopRequest

SIGNALS = st.lists(st.tuples(st.floats(min_value=0, max_value=3), st.sampled_from(STOP_SIGNALS)), max_size=20)
REPEATS = st.sampled_from([signal.SIGTERM, signal.SIGHUP])


def _answers(signals: list[tuple[float, signal.Signals]]) -> tuple[StopRequest, list[tuple[float, int, Answer]]]:
    now, request = 100.0, StopRequest()
    answers: list[tuple[float, int, Answer]] = []
    for after, number in signals:
        now += after
        request, answer = request.after(number, now)
        answers.append((now, number, answer))
    return request, answers


@given(SIGNALS)
def test_request_is_made_once_and_hurried_once(signals: list[tuple[float, signal.Signals]]) -> None:
    request, answers = _answers(signals)
    asked = [answer for _, _, answer in answers if answer is not Answer.NOTHING]
    assert asked in ([], [Answer.STOP], [Answer.HURRY], [Answer.STOP, Answer.HURRY])
    assert (request.hurried is not None) == (Answer.HURRY in asked)
    assert request.at == (answers[0][0] if answers else None)


@given(SIGNALS)
def test_only_sigquit_and_late_sigint_hurry(signals: list[tuple[float, signal.Signals]]) -> None:
    _, answers = _answers(signals)
    for at, number, answer in answers:
        if answer is Answer.HURRY:
            late = at - answers[0][0] >= HURRY_AFTER
            assert number == signal.SIGQUIT or (number == signal.SIGINT and late)


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=100), REPEATS), min_size=1, max_size=20))
def test_sigterm_and_sighup_never_hurry(signals: list[tuple[float, signal.Signals]]) -> None:
    _, answers = _answers(signals)
    assert [answer for _, _, answer in answers] == [Answer.STOP] + [Answer.NOTHING] * (len(signals) - 1)


@given(st.sampled_from([signal.SIGTERM, signal.SIGHUP, signal.SIGINT]), st.floats(min_value=HURRY_AFTER, max_value=1e6))
def test_second_ctrl_c_hurries_after_any_request(first: signal.Signals, later: float) -> None:
    request, _ = StopRequest().after(first, 0.0)
    assert request.after(signal.SIGINT, 0.2) == (request, Answer.NOTHING), "uv run repeats it after 200 ms"
    assert request.after(signal.SIGINT, later)[1] is Answer.HURRY
