import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from trainwright.errors import DataError, TrainwrightError
from trainwright.runtime.launch import Orders, launch


def play(folder: Path, *roles: str, **settings: Any) -> Any:
    for rank, role in enumerate(roles):
        (folder / f"role_{rank}").write_text(role)
    orders = Orders(module="tests.runtime.actors", folder=folder, n_processes=len(roles), n_threads=3)
    events: list[str] = []
    return launch(orders, events.append, **settings), sorted(events)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_leaders_result_comes_home_and_events_are_relayed(tmp_path: Path) -> None:
    assert play(tmp_path, "works", "works") == ("result of 0 with 3 threads", ["0 begins", "1 begins"])


def test_a_workers_own_error_is_raised_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file: a\.txt") as caught:
        play(tmp_path, "loses its neighbour", "fails")
    assert caught.value.hint == "name another"


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("crashes", "process 1 of 2 failed:\n.*the sky fell"),
        ("is killed", "process 1 of 2 was killed by SIGKILL at step 7"),
        ("leaves early", "process 1 of 2 ended with exit code 0 at step 7"),
    ],
)
def test_the_first_cause_is_told(tmp_path: Path, role: str, message: str) -> None:
    with pytest.raises(TrainwrightError, match=f"(?s){message}"):
        play(tmp_path, "loses its neighbour", role)


def test_a_hung_worker_is_named_and_all_end(tmp_path: Path) -> None:
    with pytest.raises(TrainwrightError, match="process 1 has not answered for 1 s: it is computing in step 7") as hung:
        play(tmp_path, "waits", "hangs", hang_timeout_s=0.6)
    assert "process 0: waiting for the others to join gradients in step 7" in hung.value.message
    assert not any(is_alive(int((tmp_path / f"pid_{rank}").read_text())) for rank in (0, 1))


def test_workers_end_when_the_launcher_is_killed(tmp_path: Path) -> None:
    launcher = multiprocessing.get_context("fork").Process(target=play, args=(tmp_path, "hangs", "hangs"))
    launcher.start()
    assert launcher.pid is not None
    pids = [tmp_path / f"pid_{rank}" for rank in (0, 1)]
    until(lambda: all(path.exists() and path.read_text() for path in pids))
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.join()
    until(lambda: not any(is_alive(int(path.read_text())) for path in pids))


def until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
