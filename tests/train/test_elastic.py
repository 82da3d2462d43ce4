"""Processes that are lost: started again, and when that does not help planned again for what is left."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.train.plans import SHAPE, replan, tiny_job, tiny_plan, two_cores

from trainwright.errors import DoesNotFitError, InvalidInputError, WorkerLostError
from trainwright.jobs.job import ModelChoice
from trainwright.jobs.strategy import Strategy
from trainwright.plan.again import plan_again
from trainwright.records.plan import read_plan
from trainwright.records.run import read_run
from trainwright.records.step import read_steps
from trainwright.train.elastic import plan_for_fewer, settle_plan
from trainwright.train.run import run_plan

DP2 = Strategy(dp=2, micro_batch=4, precision="fp32")
DOOMED = {"function": "tests.train.doomed:model"}


def doomed_plan(folder: Path, **changes: Any) -> Path:
    return tiny_plan(folder, job=tiny_job(model=ModelChoice(shape=SHAPE), **changes), strategy=DP2, model=DOOMED)


def foresee(folder: Path, kind: str, call: int, **more: Any) -> None:
    (folder / "misfortune").write_text(json.dumps({"kind": kind, "call": call, "rank": 1, **more}))


def test_fewer_processes_get_a_plan_of_the_same_job_and_the_first_one_comes_back(tmp_path: Path) -> None:
    folder = tiny_plan(
        tmp_path, job=tiny_job(model=ModelChoice(shape=SHAPE)), strategy=Strategy(dp=4, precision="fp32")
    )
    first = read_plan(folder)
    told: list[str] = []
    assert settle_plan(folder, 3, told.append, replan) == 2  # three replicas do not divide a batch of eight
    second = read_plan(folder)
    assert (second.job, second.chosen.strategy["precision"]) == (first.job, "fp32")
    assert "3 of 4 processes are left: planned again, 2 processes" in told[-1]
    assert settle_plan(folder, 2, told.append, replan) == 2
    assert plan_for_fewer(folder, 1, told.append, replan).chosen.n_processes == 1
    assert settle_plan(folder, 4, told.append, replan) == 4
    assert read_plan(folder) == first
    with pytest.raises(InvalidInputError, match="the plan is for 4 processes and the launcher started 5"):
        settle_plan(folder, 5, told.append, replan)
    with pytest.raises(InvalidInputError, match="the plan is for 4 processes and the launcher started 3"):
        settle_plan(folder, 3, told.append, None)


def test_accelerators_that_are_left_are_planned_for_too(tmp_path: Path) -> None:
    shape = {"layers": 4, "hidden": 512, "heads": 8}
    folder = tiny_plan(tmp_path, job=tiny_job(model=ModelChoice(shape=shape)), strategy=Strategy(dp=8))
    plan = replace(read_plan(folder), device_type="cuda", cluster={"device": "H100-SXM"})
    again = plan_again(plan, 5, two_cores())
    assert again.chosen.n_processes == 4
    assert again.cluster["device"] == "H100-SXM"
    model = {**plan.job["model"], "shape": {**shape, "hidden": 65536}}
    big = replace(plan, job={**plan.job, "model": model})
    with pytest.raises(DoesNotFitError, match="the 2 processes left of 8 cannot go on"):
        plan_again(big, 2, two_cores())


@pytest.mark.distributed
@pytest.mark.slow
def test_a_process_that_dies_for_good_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in every start at its fifth step: once started again, then planned for one, which ends as one would."""
    monkeypatch.setenv("MISFORTUNE", str(tmp_path / "misfortune"))
    alone = doomed_plan(tmp_path / "alone")
    run_plan(alone)
    foresee(tmp_path, "kill", call=2, again=True)
    told: list[Any] = []
    folder = doomed_plan(tmp_path / "run", restarts=1)
    record = run_plan(folder, progress=told.append, replan=replan)
    talk = [event for event in told if isinstance(event, str)]
    assert "was killed by SIGKILL at step 1: starting again from the newest checkpoint (1 of 1)" in talk[0]
    assert "1 of 2 processes are left: planned again, 1 process" in talk[1]
    assert (record.status, read_plan(folder).chosen.n_processes) == ("finished", 1)
    assert [s.loss for s in read_steps(folder)] == pytest.approx([s.loss for s in read_steps(alone)], rel=1e-5)
    with pytest.raises(WorkerLostError, match="process 1 of 2 was killed by SIGKILL"):
        run_plan(doomed_plan(tmp_path / "none", restarts=1))


@pytest.mark.distributed
@pytest.mark.slow
def test_torchrun_goes_on_with_the_node_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two agents; the second and its worker are killed for good, and the first goes on alone from the checkpoint."""
    monkeypatch.setenv("MISFORTUNE", str(tmp_path / "misfortune"))
    foresee(tmp_path, "kill node", call=4)
    folder = doomed_plan(tmp_path / "run", checkpoint_every=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agents = [agent(folder, port), agent(folder, port, keeps=False)]  # ranks go by process number
    try:
        outputs = [process.communicate(timeout=120)[0] for process in agents]
    finally:
        for process in agents:
            process.kill()
    codes = sorted(process.returncode for process in agents)
    assert codes == [-signal.SIGKILL, 0], outputs
    record = read_run(folder)
    assert (record.status, record.steps) == ("finished", 6)
    assert record.resumed_from in (2, 3)
    assert read_plan(folder).chosen.n_processes == 1
    assert any("1 of 2 processes are left: planned again" in output for output in outputs)


SCRIPT = """
import sys
from pathlib import Path
from tests.train.plans import replan
from trainwright.cli.main import reported
from trainwright.train.run import run_plan
with reported():
    run_plan(Path(sys.argv[1]), progress=lambda event: print(event, flush=True), replan=replan)
"""


def agent(folder: Path, port: int, *options: str, n_nodes: str = "1:2", keeps: bool = True) -> subprocess.Popen[str]:
    """One torchrun, which ``keeps`` the rendezvous or comes to it; at most ten seconds after the first."""
    script = folder.parent / "job.py"
    script.write_text(SCRIPT)
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "5",
    }  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", n_nodes, "--nproc-per-node", "1"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "elastic"]
    command += ["--rdzv-conf", f"is_host={int(keeps)},last_call_timeout=10,keep_alive_interval=1"]
    command += ["--max-restarts", "3", *options]
    command += [str(script), str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
