"""Rates, their arithmetic, and the error of stores."""

import pickle

import pytest

from spica.stores import Allowance, Rate, StoreUnavailable
from spica.stores.values import take

NOW = 1_795_000_000_000_000


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/minute", Rate(100, 60)),
        ("5/s", Rate(5, 1)),
        ("1000 per day", Rate(1000, 86400)),
        ("20/10 seconds", Rate(20, 10)),
        (" 7 / Hours ", Rate(7, 3600)),
    ],
)
def test_parse_reads_the_usual_forms(text, rate):
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "100", "minute", "100/fortnight", "-1/second", "1e3/s", "٣/s"]
)
def test_parse_refuses_other_strings(text):
    with pytest.raises(ValueError, match=r"is not a rate. Write \"100/minute\""):
        Rate.parse(text)


@pytest.mark.parametrize(
    "arguments",
    [(0, 1), (1, 0), (1, -1), (1, float("nan")), (1, float("inf")), (1, 1, 0), (2_000_001, 1)]
    + [(1, 86400, 10**6)],
)
def test_a_rate_out_of_range_is_refused(arguments):
    with pytest.raises(ValueError, match="Rate: "):
        Rate(*arguments)


@pytest.mark.parametrize("arguments", [("5", 1), (True, 1), (1.5, 1), (1, "60"), (1, 1, 2.0)])
def test_a_rate_of_another_type_is_refused(arguments):
    with pytest.raises(TypeError, match="Rate: "):
        Rate(*arguments)


def test_the_burst_is_the_number_of_requests_by_default():
    assert Rate(7, 60).burst == 7
    assert Rate(7, 60) == Rate(7, 60, 7)


def admit(rate, times, cost=1):
    tat, answers = 0, []
    for now in times:
        answer, tat = take(tat, now, rate, cost)
        answers.append(answer)
    return answers


@pytest.mark.parametrize("rate", [Rate(5, 10), Rate(7, 60), Rate(3, 1, 100), Rate(1_000_000, 1)])
def test_exactly_the_burst_passes_at_once(rate):
    count = min(rate.burst, 1000)
    answers = admit(Rate(rate.requests, rate.seconds, count), [NOW] * (count + 3))
    assert [answer.allowed for answer in answers] == [True] * count + [False] * 3
    assert [answer.remaining for answer in answers[:count]] == [*reversed(range(count))]


def test_one_more_passes_after_the_interval_and_not_before():
    rate = Rate(2, 10)
    refused = admit(rate, [NOW, NOW, NOW + 4_999_999])[-1]
    assert refused == Allowance(False, 0, 0.000001, 5.000001)
    assert admit(rate, [NOW, NOW, NOW + 5_000_000])[-1] == Allowance(True, 0, 0.0, 10.0)


def test_a_window_never_lets_through_more_than_its_burst_and_what_refills():
    rate = Rate(10, 1)
    passed = admit(rate, [NOW + 20_000 * n for n in range(500)])  # 10 seconds, 50 per second
    assert sum(answer.allowed for answer in passed) == 10 + 99


def test_a_cost_of_zero_takes_nothing():
    rate = Rate(1, 10)
    assert admit(rate, [NOW] * 3, cost=0) == [Allowance(True, 1, 0.0, 0.0)] * 3
    _, tat = take(0, NOW, rate, 1)
    assert take(tat, NOW, rate, 0) == (Allowance(False, 0, 10.0, 10.0), tat)


def test_a_clock_set_back_by_an_hour_delays_no_request_longer_than_a_burst():
    rate = Rate(5, 10)
    _, tat = take(0, NOW, rate, 5)
    hour = 3_600_000_000
    refused, _ = take(tat, NOW - hour, rate, 1)
    assert (refused.allowed, refused.retry_after_seconds) == (False, 2.0)
    assert take(tat, NOW - hour + 2_000_000, rate, 1)[0].retry_after_seconds == 2.0


def test_an_allowance_is_true_if_it_allows():
    assert Allowance(True, 0, 0.0, 1.0)
    assert not Allowance(False, 0, 1.0, 1.0)


def test_unavailable_is_a_503_that_keeps_its_reason_to_the_log():
    error = pickle.loads(pickle.dumps(StoreUnavailable("RedisStore", "get", "refused at 10.0.0.7")))
    assert str(error) == "RedisStore.get() failed: refused at 10.0.0.7"
    assert (error.status_code, error.detail) == (503, "Service Unavailable")
    assert error.headers == {"Retry-After": "1"}
