"""A NaN or Inf in a step: the batch is named and kept, and the job says whether that stops the run."""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor

from trainwright.errors import CheckpointError, NumericsError
from trainwright.runtime.own import Drawn
from trainwright.runtime.tensorfile import write_tensors
from trainwright.train.session import Session

FOLDER = "bad_batches"
MOST_IN_A_ROW = 5
"""So many batches left out one after the other mean that the weights are at fault, not the data."""


def are_sound(loss: float, norm: float) -> bool:
    """Whether an update may stand on them."""
    return math.isfinite(loss) and math.isfinite(norm)


def leave_out(session: Session, loss: float, norm: float) -> None:
    """Drop the gradients of a batch that gave NaN or Inf, name it and keep it in FOLDER.

    The processes that agreed on loss and norm all do the same; replicas that step alone each answer for their own part.
    Raises NumericsError unless the job says skip, or when it happened MOST_IN_A_ROW times one after the other.
    """
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient norm is {norm}"
    seen = ", ".join(session.task.sources(session.step)[:3])
    where = _keep(session, what)
    told = f"{what} at step {session.step}, on {session.job.global_batch} sequences from {seen}; kept in {where}"
    if session.job.on_nan == "stop":
        raise NumericsError(
            told,
            hint="lower optimizer.learning_rate, use precision fp32, or leave such batches out with "
            'training.on_nan = "skip"; the last checkpoint is as it was',
        )
    session.skipped.append(session.step)
    if session.skipped[-MOST_IN_A_ROW:] == list(range(session.step - MOST_IN_A_ROW + 1, session.step + 1)):
        raise NumericsError(
            f"{told}: the {MOST_IN_A_ROW}th such batch in a row",
            hint="the weights are at fault, not the data: lower optimizer.learning_rate, or use precision fp32; "
            "the last checkpoint is as it was",
        )
    if session.place.leads or not session.steps_together:
        session.note(f"{told}: left out")
    for parameter in session.sync.moving:
        parameter.grad = None


def _named(inputs: Tensor | Drawn) -> dict[str, Tensor]:
    if isinstance(inputs, Tensor):
        return {"inputs": inputs}
    (sample,) = inputs.split(inputs.n_rows)
    return {f"inputs.{key}": tensor for key, tensor in sample.values.items()}


def _keep(session: Session, what: str) -> Path:
    """Write the rows of the step to a file, once; returns where it is, relative to the run folder."""
    together, mesh = session.steps_together, session.sharded.mesh
    name = f"step_{session.step:08d}" + ("" if together else f"_replica_{mesh.dp_index}")
    path = Path(FOLDER) / f"{name}.safetensors"
    if together and not session.place.leads:
        return path
    inputs, targets = session.task.rows(session.step, *((0, 1) if together else (mesh.dp_index, mesh.dp)))
    about = {"step": str(session.step), "what": what, "sources": "\n".join(session.task.sources(session.step))}
    try:
        (session.folder / FOLDER).mkdir(exist_ok=True)
        write_tensors(session.folder / path, _named(inputs) | {"targets": targets}, about)
    except OSError as error:
        raise CheckpointError(
            f"{what} at step {session.step}, and {session.folder / path} cannot be written: {error.strerror}",
            hint="make room, then run the same command again",
        ) from error
    return path
