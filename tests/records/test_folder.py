import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.records.test_store import PLAN, RUN

from trainwright.errors import InvalidInputError
from trainwright.records.folder import run_folder
from trainwright.records.lock import only_run_in
from trainwright.records.plan import write_plan
from trainwright.records.run import write_run


def test_a_stopped_job_goes_on_and_a_finished_or_changed_one_gets_the_next_folder(tmp_path: Path) -> None:
    first = run_folder(tmp_path, "a", PLAN.job)
    assert first == tmp_path / "a"
    write_plan(first, PLAN)
    assert run_folder(tmp_path, "a", PLAN.job) == first
    write_run(first, replace(RUN, status="interrupted"))
    assert run_folder(tmp_path, "a", PLAN.job) == first
    assert run_folder(tmp_path, "a", {"name": "changed"}) == tmp_path / "a-2"
    write_run(first, RUN)
    assert run_folder(tmp_path, "a", PLAN.job) == first  # stopped while its page was written
    (first / "report.html").touch()
    assert run_folder(tmp_path, "a", PLAN.job) == tmp_path / "a-2"  # empty, so nobody's


def test_what_a_command_killed_before_it_had_a_plan_left_is_swept_and_used(tmp_path: Path) -> None:
    first = run_folder(tmp_path, "a", PLAN.job)
    assert run_folder(tmp_path, "a", PLAN.job) == first  # killed at once
    (first / "data").mkdir()
    (first / "data" / "mine").touch()
    assert run_folder(tmp_path, "a", PLAN.job) == tmp_path / "a-2"  # never locked: somebody else's
    (tmp_path / "a-2").rmdir()
    with only_run_in(first):
        assert run_folder(tmp_path, "a", PLAN.job) == tmp_path / "a-2"
    (first / ".plan.json.1.tmp").touch()
    assert run_folder(tmp_path, "a", PLAN.job) == first
    assert not list(first.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InvalidInputError, match="cannot make the run folder"):
        run_folder(tmp_path / "out", "a", {})


def test_an_output_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InvalidInputError, match="cannot make the run folder"):
        run_folder(tmp_path / "out", "a", {})
