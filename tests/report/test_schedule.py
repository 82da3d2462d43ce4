from itertools import pairwise

import pytest

from trainwright.report.schedule import Pipeline, events

SCHEDULES = [("gpipe", 1, 1.0), ("1f1b", 1, 1.0), ("zero_bubble", 1, 1 / 3), ("interleaved", 2, 1 / 2)]


def pipeline(schedule, n_chunks, send_s=0.0):
    return Pipeline(
        schedule=schedule, n_stages=4, n_micro=8, n_chunks=n_chunks, forward_s=1.0, backward_s=2.0, send_s=send_s
    )


@pytest.mark.parametrize(("schedule", "n_chunks", "bubble"), SCHEDULES)
def test_schedules_have_the_bubble_that_the_estimate_counts_and_do_one_thing_at_a_time(schedule, n_chunks, bubble):
    found = list(events(pipeline(schedule, n_chunks)))
    assert max(e.start_s + e.seconds for e in found) == pytest.approx(8 * 3.0 + bubble * (4 - 1) * 3.0)
    for stage in range(4):
        mine = sorted((e.start_s, e.start_s + e.seconds) for e in found if e.stage == stage)
        assert sum(end - start for start, end in mine) == pytest.approx(8 * 3.0)
        assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(mine))


def test_a_pass_starts_after_what_it_needs_has_arrived():
    found = list(events(pipeline("1f1b", 1, send_s=0.25)))
    at = {(e.kind, e.label, e.stage): e for e in found if e.kind != "send"}
    for (kind, label, stage), event in at.items():
        before = ("forward", label, stage - 1) if kind == "forward" else ("backward", label, stage + 1)
        if before in at:
            assert at[before].start_s + at[before].seconds + 0.25 <= event.start_s + 1e-9
    assert sum(e.kind == "send" for e in found) == 2 * 8 * 3
