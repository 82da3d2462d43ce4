from types import SimpleNamespace

import pytest

from trainwright.probe.clock import BURST, Clock


def test_short_work_is_repeated_until_it_is_steady(monkeypatch):
    calls = []
    monkeypatch.setattr("trainwright.probe.clock.time.perf_counter", lambda: 2e-6 * len(calls))  # two us a call
    monkeypatch.setattr("trainwright.probe.clock.resource.getrusage", lambda _who: SimpleNamespace(ru_nivcsw=0))
    clock = Clock(budget_s=0.2)
    timing = clock.time(lambda: calls.append(1))
    assert timing.n_repeats == clock.least_repeats
    assert timing.calm_s == timing.median_s == pytest.approx(2e-6)
    assert 24 <= (len(calls) - 1) / timing.n_repeats <= 25  # fifty us in a reading, after one call to warm up
    assert clock.timings == [timing]


def test_processes_meet_before_they_measure():
    order = []
    Clock(meet=lambda: order.append("meet"), budget_s=0.0).time(lambda: order.append("work"))
    assert order[0] == "meet"
    assert order.count("meet") == 1


def test_disturbed_readings_do_not_count(monkeypatch):
    switches = iter([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2])  # before and after each reading

    class Usage:
        @property
        def ru_nivcsw(self):
            return next(switches)

    monkeypatch.setattr("trainwright.probe.clock.resource.getrusage", lambda _who: Usage())
    ticks = iter(range(100))
    monkeypatch.setattr("trainwright.probe.clock.time.perf_counter", lambda: next(ticks))
    timing = Clock(budget_s=5.0).time(lambda: None)  # every reading lasts a second, and the budget ends after three
    assert timing.calm_s == 1.0
    assert (timing.n_repeats, timing.disturbed_share) == (3, 0.4)


def test_work_in_turn_is_called_in_bursts_with_the_rest_between():
    calls = []
    clock = Clock(rounds=3)
    timings = clock.in_turn([lambda: calls.append("a"), lambda: calls.append("b")])
    assert len(timings) == len(clock.timings) == 2
    assert "".join(calls) == "aabb" + 3 * (BURST * "a" + BURST * "b")  # warmed up, looked at once, then in turn
