"""The one place that reads the environment. A bad value is an error, never a silent default.

TRAINWRIGHT_CACHE   where machine profiles are kept (default: the user's cache folder)
RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, TORCHELASTIC_*   set by torchrun
TORCH_CPP_LOG_LEVEL   what torch's C++ part prints; only fatal errors unless it is set
TORCHINDUCTOR_CACHE_DIR   where torch keeps compiled code; set by us to a folder of the run unless it is set
MLFLOW_TRACKING_URI, WANDB_MODE   where metrics go, when the job names these trackers
SLURM_STEP_ID, SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, SLURM_JOB_ID, SLURM_STEP_NODELIST   set by srun
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from trainwright.errors import InvalidInputError


def cache_folder() -> Path:
    """The user's cache folder for Trainwright; created by whoever writes to it."""
    chosen = os.environ.get("TRAINWRIGHT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trainwright"


def keep_torch_files_in(folder: Path) -> None:
    """Make torch keep its compiler's cache in ``folder``; call before importing transformers.

    Otherwise importing it leaves an empty torchinductor_USER in the system's temporary folder. What its C++ part would
    print of a lost connection, twenty lines of addresses, is left out: it also raises it, and that is told.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """Where torchrun or srun put this process, and where rank 0 listens."""

    rank: int
    n_processes: int
    local_rank: int
    address: str
    port: int
    attempt: int = 0
    agent_holds_store: bool = False


def launched() -> Launched | None:
    """This process's place when a launcher other than ours started it; None when it was started alone."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return Launched(
            rank=_integer("RANK"),
            n_processes=_integer("WORLD_SIZE"),
            local_rank=_integer("LOCAL_RANK", 0),
            address=os.environ.get("MASTER_ADDR", "127.0.0.1"),
            port=_integer("MASTER_PORT"),
            attempt=_integer("TORCHELASTIC_RESTART_COUNT", 0),
            agent_holds_store=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        )
    if "SLURM_STEP_ID" in os.environ and "SLURM_PROCID" in os.environ and _integer("SLURM_NTASKS", 1) > 1:
        nodes = os.environ.get("SLURM_STEP_NODELIST", os.environ.get("SLURM_JOB_NODELIST", "127.0.0.1"))
        return Launched(
            rank=_integer("SLURM_PROCID"),
            n_processes=_integer("SLURM_NTASKS"),
            local_rank=_integer("SLURM_LOCALID", 0),
            address=os.environ.get("MASTER_ADDR", first_host(nodes)),
            port=_integer("MASTER_PORT", 20000 + _integer("SLURM_JOB_ID", 0) % 20000),
        )
    return None


def first_host(nodes: str) -> str:
    """The first host of a Slurm node list.

    >>> first_host("gpu[003-007,12],login1"), first_host("a1,a2")
    ('gpu003', 'a1')
    """
    match = re.match(r"([^,\[]+)(?:\[(\d+))?", nodes)
    return (match[1] + (match[2] or "")) if match else nodes


def _integer(name: str, default: int | None = None) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise InvalidInputError(
            f"the environment variable {name} is {text!r}, not a whole number",
            hint=f"unset {name}, or let the launcher set it",
        ) from None


def mlflow_address() -> str | None:
    """The MLflow server that the user named, if any."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def wandb_mode() -> str:
    """How Weights & Biases shall work: offline, unless the user says otherwise."""
    return os.environ.get("WANDB_MODE") or "offline"


def openmp_threads() -> str | None:
    """What the user set as OMP_NUM_THREADS, if anything."""
    return os.environ.get("OMP_NUM_THREADS")


def settle_gpu_settings() -> None:
    """What torch and NCCL read when they begin with a GPU, where the user has not said otherwise.

    Memory in segments that grow, so that shapes which change leave no holes; collectives that free their inputs when
    they are done; an error in one of them ends the process instead of leaving the others to wait.
    """
    settings = {
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "TORCH_NCCL_AVOID_RECORD_STREAMS": "1",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def worker_environment(n_threads: int) -> dict[str, str]:
    """The environment of a process that computes on this machine: ours, its threads, no network for models.

    The probe and the runtime start their processes with the same settings, so that one measures what the other does.
    """
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(n_threads),
        "MKL_NUM_THREADS": str(n_threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
