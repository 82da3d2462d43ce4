from trainwright.probe.clock import Clock


def test_short_work_is_repeated_until_it_is_steady():
    calls = []
    clock = Clock(budget_s=0.2)
    timing = clock.time(lambda: calls.append(1))
    assert timing.n_repeats >= 3
    assert len(calls) > 100  # a call takes well under a microsecond, a reading lasts fifty
    assert 0 < timing.calm_s <= timing.median_s
    assert clock.spreads == [timing.spread]


def test_processes_meet_before_they_measure():
    order = []
    Clock(meet=lambda: order.append("meet"), budget_s=0.0).time(lambda: order.append("work"))
    assert order[0] == "meet"
    assert order.count("meet") == 1
