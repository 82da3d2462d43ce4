"""Everything one process of a run holds, and what of it changes from step to step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainwright.errors import CheckpointError
from trainwright.jobs.job import Job
from trainwright.records.run import Evaluation
from trainwright.records.step import StepRecord, step_line
from trainwright.runtime.checkpoint import Checkpoint, Content, newest_checkpoint
from trainwright.runtime.device import sent
from trainwright.runtime.own import Drawn
from trainwright.runtime.place import Place
from trainwright.runtime.portion import portion
from trainwright.runtime.precision import Precision
from trainwright.runtime.saver import Saver
from trainwright.runtime.shard import Sharded
from trainwright.runtime.state import Apart, restore, state_pieces
from trainwright.runtime.sync import Sync
from trainwright.train.rates import n_cuts, rate_at
from trainwright.train.task import Rows, Shown, Task

Stop = Literal["", "interrupt", "preempt", "unsaved"]
"""Why to stop before the end: asked by Ctrl-C, asked by SIGTERM, or a checkpoint could not be written."""

_STOPS: tuple[Stop, ...] = ("interrupt", "preempt", "unsaved")
N_FLAGS = len(_STOPS)
"""How many things the processes agree on in a step besides loss and norm."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One process of a run. The fields up to ``micro_batch`` never change; the rest is what the loop moves."""

    folder: Path
    job: Job
    place: Place
    sharded: Sharded
    optimizer: Optimizer
    sync: Sync
    saver: Saver
    task: Task
    precision: Precision
    n_steps: int | None
    tell: Callable[..., None]
    micro_batch: int = 1
    settled_step: int = 0
    step: int = 0
    met_step: int = 0
    stop_asked_here: Stop = ""
    agreed_stop: Stop = ""
    saved_step: int | None = None
    resumed_from: int | None = None
    peak_bytes: float | None = None
    measured: list[StepRecord] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps_file: TextIO | None = None
    begun_at: float = field(default_factory=time.perf_counter)
    earlier_seconds: float = 0.0

    @property
    def tokens_per_step(self) -> int:
        """Tokens (or images) that one optimizer step learns from, over all processes."""
        return self.task.per_step

    @property
    def rate(self) -> float:
        """The learning rate of the step to come."""
        seen = [self.losses["first"], *(check.loss for check in self.evaluations)] if self.losses else []
        peak, schedule = self.job.optimizer.learning_rate, self.job.schedule
        return rate_at(self.step, self.n_steps, peak, schedule) * schedule.factor ** n_cuts(seen, schedule)

    @property
    def is_over(self) -> bool:
        """Whether the stopping rule is met: all steps done, or no improvement for ``patience`` checks."""
        if self.n_steps is not None and self.step >= self.n_steps:
            return True
        patience = self.job.stopping.patience
        if patience is None or len(self.evaluations) <= patience:
            return False
        best = min(range(len(self.evaluations)), key=lambda i: self.evaluations[i].loss)
        return len(self.evaluations) - 1 - best >= patience

    @property
    def evaluation_due(self) -> bool:
        """Whether to check on the held-out data now."""
        if not self.task.has_held_out:
            return False
        every = self.job.evaluate_every or max((self.n_steps or 1000) // 10, 1)
        return self._came_past(every) or self.step == self.n_steps

    @property
    def checkpoint_due(self) -> bool:
        """Whether to save now: it is time, or this is the best that there was and the best is kept."""
        every = self.job.checkpoint_every or max((self.n_steps or 1000) // 5, 1)
        return self._came_past(every) or (self.job.keep_best and self._is_best)

    @property
    def _is_best(self) -> bool:
        """Whether the held-out loss was checked just now and was never lower."""
        checks = self.evaluations
        return bool(checks) and checks[-1].step == self.step and checks[-1].loss <= min(e.loss for e in checks)

    def _came_past(self, every: int) -> bool:
        """Whether a multiple of ``every`` was reached since the replicas last held the same weights."""
        return self.step // every > self.met_step // every

    def batch(self, step: int) -> Rows:
        """This replica's rows of the step's global batch, on its device: inputs and targets."""
        mesh = self.sharded.mesh
        own = portion(self.sharded.strategy, mesh.dp_index)
        inputs, targets = self.task.rows(step, *((mesh.dp_index, mesh.dp) if own is None else (0, 1)))
        if isinstance(inputs, Drawn):
            assert own is None, "plans for made-up inputs have no uneven portions"
            return inputs, targets
        own = own or slice(None)
        return self._sent((inputs[own], targets[own]))

    def held_out_batches(self) -> Iterator[Shown]:
        """This replica's share of the held-out data, in micro-batches.

        Where replicas divide weights or experts they run their forwards together: all take as many rows as the first,
        which has the most, and what is missing is filled with its rows, which do not count.
        """
        mesh, strategy = self.sharded.mesh, self.sharded.strategy
        size = int(strategy.micro_batch)
        mine = self.task.held_out(mesh.dp_index, mesh.dp, size)
        if strategy.zero_stage < 2 and strategy.ep == 1:
            yield from (self._sent(rows) for rows in mine)
            return
        for inputs, targets in self.task.held_out(0, mesh.dp, size):
            own = next(mine, (inputs[:0], targets[:0]))
            n = len(own[0])
            yield self._sent((torch.cat([own[0], inputs[n:]]), torch.cat([own[1], torch.full_like(targets[n:], -100)])))

    def _sent(self, rows: Shown) -> Shown:
        return sent(rows[0], self.sharded.mesh.device), sent(rows[1], self.sharded.mesh.device)

    def beat(self, doing: str) -> None:
        """Tell the launcher that this process is alive, where it is and what it does."""
        self.tell("beat", self.step, doing)

    def note(self, text: str) -> None:
        """Something the user should hear, kept in run.json too."""
        self.notes.append(text)
        self.tell("event", text)

    def join(self, loss: Tensor) -> tuple[float, float]:
        """(loss, gradient norm) that the next update stands on: the whole global batch's, or this replica's."""
        return self.sync.join(loss, [float(self._stop_here == stop) for stop in _STOPS], self.step + 1)

    def update(self) -> None:
        """Move the weights; all processes learn at the same step whether to stop."""
        self.sync.update(self.rate, self.step + 1)
        self.agreed_stop = next((stop for stop, n in zip(_STOPS, self.sync.asked, strict=True) if n), "")

    def meet(self) -> bool:
        """Whether all replicas hold the same weights now, so that they can be checked and saved."""
        wanted = self.evaluation_due or self.checkpoint_due or self.is_over or bool(self.asked_to_stop)
        return self.sync.meet(self.step, wanted=wanted)

    @property
    def steps_together(self) -> bool:
        """Whether all processes take the same steps and know the same loss, or each replica its own."""
        return self.job.sync.mode in ("all_reduce", "server")

    @property
    def asked_to_stop(self) -> Stop:
        """Whether, and by what, the run was asked to stop; several processes only know once they agreed in a step."""
        return self.agreed_stop if self.place.n_processes > 1 else self._stop_here

    @property
    def _stop_here(self) -> Stop:
        return self.stop_asked_here or ("unsaved" if self.saver.failed else "")

    def keep(self, record: StepRecord | None, *, counts: bool) -> None:
        """A step is done: count it, write it down, show it; one that was left out (None) only counts."""
        self.step += 1
        if record is None:
            return
        self.losses.setdefault("first", record.loss)
        self.losses["last"] = record.loss
        if counts:
            self.measured.append(record)
        if self.place.leads:
            self._write_down(step_line(record))
            self.tell("event", record)

    def _write_down(self, line: str) -> None:
        """A line in steps.jsonl, which stays open: opening it costs more than the line."""
        path = self.folder / "steps.jsonl"
        try:
            if self.steps_file is None:
                self.steps_file = path.open("a", encoding="utf-8", buffering=1)
            self.steps_file.write(line)
        except OSError as error:
            raise CheckpointError(
                f"cannot write {path}: {error.strerror}", hint="make room, then run the same command again"
            ) from error

    def keep_evaluation(self, evaluation: Evaluation) -> None:
        """A check on the held-out data is done."""
        self.evaluations.append(evaluation)
        if self.place.leads:
            self.tell("event", evaluation)

    def save(self) -> None:
        """Begin a checkpoint of the present step, unless there is one; CheckpointError when the last one failed."""
        if self.saved_step == self.step:
            return
        self.beat("saving a checkpoint")
        checked = self.evaluations[-1] if self.evaluations else None
        content = Content(
            step=self.step,
            pieces=state_pieces(self.sharded, self.optimizer, self.place, self._apart),
            state=self._state(),
            score=checked.loss if checked is not None and checked.step == self.step else None,
        )
        self.saver.save(content, self.beat)
        self.saved_step = self.step

    def resume(self) -> None:
        """Go on from the newest usable checkpoint, when there is one."""
        checkpoint = newest_checkpoint(self.folder / "checkpoints", self.place, self.note)
        if checkpoint is None:
            return
        self._take_up(checkpoint.state, checkpoint)
        if not restore(checkpoint, self.sharded, self.optimizer, self.place, self._apart):
            self.note(f"resumed on another mesh: random numbers of process {self.place.rank} begin anew")
        self.step = self.met_step = self.saved_step = self.resumed_from = checkpoint.step

    @property
    def _apart(self) -> Apart:
        replica = self.sharded.mesh.dp_index if self.sync.own_states else 0
        return Apart(replica=replica, outer=self.sync.outer)

    def _state(self) -> dict[str, Any]:
        return {
            "model": _model_name(self.sharded),
            **self.task.identity,
            "seconds": self.seconds,
            "losses": self.losses,
            "skipped": self.skipped,
            "evaluations": [[e.step, e.loss, e.accuracy] for e in self.evaluations],
        }

    def _take_up(self, state: dict[str, Any], checkpoint: Checkpoint) -> None:
        for key, now in self.task.identity.items():
            if state.get(key) != now:
                raise CheckpointError(
                    f"{checkpoint.folder} was made with {key} {state.get(key)}, and the plan says {now}",
                    hint="run the plan that made it, or choose another folder",
                )
        self.earlier_seconds = state["seconds"]
        self.losses = dict(state["losses"])
        self.skipped = list(state.get("skipped", ()))
        self.evaluations = [
            Evaluation(step=step, loss=loss, perplexity=math.exp(min(loss, 700.0)), accuracy=accuracy)
            for step, loss, accuracy in state["evaluations"]
        ]

    @property
    def seconds(self) -> float:
        """How long the run has trained, earlier starts included."""
        return self.earlier_seconds + time.perf_counter() - self.begun_at


def _model_name(sharded: Sharded) -> str:
    return type(sharded.model).__name__
