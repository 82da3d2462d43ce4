"""The same run under torch's elastic launcher: a killed worker comes back by itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.train.plans import tiny_plan
from tests.train.test_resume import foresee, outcome

from trainwright.env import launched
from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.records.run import read_run
from trainwright.train.run import run_plan


def test_srun_and_torchrun_are_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)
    assert launched() is None
    for name, value in {
        "STEP_ID": "0",
        "PROCID": "3",
        "NTASKS": "4",
        "JOB_ID": "7",
        "STEP_NODELIST": "n[01-02]",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    place = launched()
    assert place is not None
    assert (place.rank, place.n_processes, place.address, place.port) == (3, 4, "n01", 20007)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "x"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInputError, match="environment variable MASTER_PORT is 'x', not a whole number"):
        launched()


@pytest.mark.distributed
@pytest.mark.slow
def test_torchrun_brings_a_killed_worker_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISFORTUNE", str(tmp_path / "misfortune"))
    settings = {
        "strategy": Strategy(dp=2, micro_batch=4, precision="fp32"),
        "model": {"function": "tests.train.doomed:model"},
    }
    alone, folder = tiny_plan(tmp_path / "alone", **settings), tiny_plan(tmp_path / "killed", **settings)
    run_plan(alone)
    foresee(tmp_path, "kill", call=4)
    script = tmp_path / "job.py"
    script.write_text(
        f"from pathlib import Path\nfrom trainwright.train.run import run_plan\nrun_plan(Path({str(folder)!r}))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2"]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_run(folder).resumed_from in (2, None)
    assert outcome(folder) == outcome(alone)
