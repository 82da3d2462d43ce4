"""What goes wrong between processes of other launchers: told once, by one of them, with what to do."""

import json
import signal
import socket
import threading
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tests.train.plans import tiny_job, tiny_plan
from tests.train.test_elastic import agent, foresee
from torch._C._distributed_c10d import TCPStore

from trainwright.api import training
from trainwright.env import Launched
from trainwright.errors import InvalidInputError, TrainwrightError
from trainwright.jobs.strategy import Strategy
from trainwright.records.plan import FILE_NAME
from trainwright.records.run import read_run
from trainwright.runtime import place as places
from trainwright.runtime import rollcall
from trainwright.runtime.place import Place, connect
from trainwright.runtime.rollcall import facts_here, roll_call
from trainwright.train.run import run_plan


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("somebody_else_listens", [False, True])
def test_a_process_that_cannot_reach_the_first_says_where_it_tried(
    monkeypatch: pytest.MonkeyPatch, *, somebody_else_listens: bool
) -> None:
    monkeypatch.setattr(places, "CONNECT_S", 1.0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = int(other.getsockname()[1])
        if somebody_else_listens:
            other.listen()
        lost = Launched(rank=1, n_processes=2, local_rank=0, address="127.0.0.1", port=port)
        told = f"process 1 of 2 cannot reach process 0 at 127.0.0.1:{port}: no answer within 1 s"
        with pytest.raises(TrainwrightError, match=told) as caught:
            connect(lost, Place(rank=1, n_processes=2))
    assert "MASTER_ADDR" in str(caught.value.hint)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        first = Launched(rank=0, n_processes=2, local_rank=0, address="127.0.0.1", port=port)
        with pytest.raises(TrainwrightError, match=f"port {port} of 127.0.0.1 is in use"):
            connect(first, Place(n_processes=2))
    with pytest.raises(InvalidInputError, match="the launcher gives port 0, where nobody can be reached"):
        connect(replace(first, port=0), Place(n_processes=2))


def test_launched_processes_want_a_plan_and_the_first_of_a_node_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "FIRST_SAYS_S", 0.0)
    for local_rank, given in product("01", (tmp_path / "job.toml", tmp_path / "none", None)):
        for name, value in {"RANK": "2", "WORLD_SIZE": "4", "MASTER_PORT": "1", "LOCAL_RANK": local_rank}.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "job.toml").touch()
        with pytest.raises(InvalidInputError, match=r"there is no .*none|has no plan, and a launcher started 4") as no:
            training.prepare(given, training.PrepareOptions(), print)
        assert no.value.told == (local_rank == "1")


def answer(n_processes: int, facts: dict[int, dict[str, str]]) -> dict[int, str]:
    """What each process that comes hears of the roll call."""
    host = TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    heard: dict[int, str] = {}

    def come(rank: int) -> None:
        store = host if rank == 0 else TCPStore("127.0.0.1", host.port, None, False, wait_for_workers=False)
        try:
            roll_call(store, Place(rank=rank, n_processes=n_processes), facts[rank])
            heard[rank] = "well"
        except TrainwrightError as error:
            heard[rank] = str(error)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in facts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return heard


def test_the_roll_call_finds_who_is_missing_and_who_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = facts_here(tiny_plan(tmp_path) / FILE_NAME)
    assert set(here) == {"trainwright", "python", "torch", "transformers", "plan"}
    assert answer(2, {0: here, 1: here}) == {0: "well", 1: "well"}
    other = answer(3, {0: here, 1: here, 2: {**here, "torch": "2.12.0"}})
    assert len(set(other.values())) == 1
    assert f"process 2 has torch 2.12.0 where process 0 has {here['torch']}\nhint: install the same" in other[0]
    monkeypatch.setattr(rollcall, "ROLL_CALL_S", 1.0)
    assert "only 2 of 3 processes came within 1 s: 1 is missing" in answer(3, {0: here, 2: here})[2]


def test_launchers_of_too_many_are_refused_by_one_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": str(free_port())}.items():
        monkeypatch.setenv(name, value)
    folder = tiny_plan(tmp_path, strategy=Strategy(dp=2, micro_batch=4, precision="fp32"))
    with pytest.raises(TrainwrightError, match="the plan is for 2 processes and the launcher started 1") as refused:
        run_plan(folder)
    assert not refused.value.told


DOOMED = {"function": "tests.train.doomed:model"}
DP2 = Strategy(dp=2, micro_batch=4, precision="fp32")


@pytest.mark.distributed
@pytest.mark.slow
def test_under_torchrun_a_hung_process_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISFORTUNE", str(tmp_path / "misfortune"))
    foresee(tmp_path, "hang", call=3)
    folder = tiny_plan(tmp_path / "run", job=tiny_job(hang_timeout=8.0), strategy=DP2, model=DOOMED)
    launcher = agent(folder, free_port(), "--nproc-per-node", "2", "--max-restarts", "0", n_nodes="1")
    output = launcher.communicate(timeout=120)[0]
    assert launcher.returncode == 1
    assert "error: process 1 has not answered for 8 s: it is computing in step 2 (process 0: waiting for the" in output


@pytest.mark.distributed
@pytest.mark.slow
def test_under_torchrun_sigterm_saves_and_an_error_of_all_is_told_once(tmp_path: Path) -> None:
    folder = tiny_plan(tmp_path / "run", job=tiny_job(checkpoint_every=1000), strategy=DP2)
    plan = json.loads((folder / FILE_NAME).read_text())
    plan["job"]["stopping"]["steps"] = 100_000
    (folder / FILE_NAME).write_text(json.dumps(plan))
    one = ("--nproc-per-node", "2", "--max-restarts", "0")
    launcher = agent(folder, free_port(), *one, n_nodes="1")
    wait_until(lambda: (folder / "steps.jsonl").exists())
    launcher.send_signal(signal.SIGTERM)
    output = launcher.communicate(timeout=120)[0]
    assert read_run(folder).status == "preempted", output
    assert output.count("and saved") == 1, output
    plan["job"]["seed"] = 7
    (folder / FILE_NAME).write_text(json.dumps(plan))
    output = agent(folder, free_port(), *one, n_nodes="1").communicate(timeout=120)[0]
    assert output.count("error: ") == 1, output
    assert "was made with seed 0, and the plan says 7" in output


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)
