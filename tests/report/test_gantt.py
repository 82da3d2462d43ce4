from itertools import pairwise

import pytest

from trainwright.report.gantt import one_f_one_b


def test_1f1b_takes_the_textbook_time_and_keeps_every_stage_busy_with_one_thing():
    events = list(one_f_one_b(4, 8, 1.0, 2.0))
    assert len(events) == 4 * 8 * 2
    assert max(e.start_s + e.seconds for e in events) == pytest.approx((8 + 4 - 1) * 3.0)
    for stage in range(4):
        mine = sorted((e.start_s, e.start_s + e.seconds) for e in events if e.stage == stage)
        assert all(end <= start for (_, end), (start, _) in pairwise(mine))


def test_a_pass_starts_after_what_it_needs():
    at = {(e.kind, e.label, e.stage): e for e in one_f_one_b(3, 4, 1.0, 1.5)}
    for (kind, label, stage), event in at.items():
        before = ("forward", label, stage - 1) if kind == "forward" else ("backward", label, stage + 1)
        if before in at:
            assert at[before].start_s + at[before].seconds <= event.start_s
