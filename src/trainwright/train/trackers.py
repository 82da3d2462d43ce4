"""Metrics for TensorBoard, MLflow and Weights & Biases, where the job asks for them and they are installed.

Process 0 writes them, into the run folder; nothing goes over the network unless the user's environment names a server
(MLFLOW_TRACKING_URI) or asks for it (WANDB_MODE=online). A tracker that is missing or fails is told once and left out:
steps.jsonl has everything in any case.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from trainwright import env
from trainwright.records.run import Evaluation
from trainwright.records.step import StepRecord

Figures = Mapping[str, float]


class Tracker(Protocol):
    """Takes figures of a step."""

    def log(self, step: int, figures: Figures) -> None:
        """Figures by name, after so many steps."""

    def end(self) -> None:
        """No more will come; what was logged is written."""


class TensorBoard:
    """Event files in ``tensorboard/`` of the run folder; what a resumed run does again is purged."""

    def __init__(self, folder: Path, _name: str, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def log(self, step: int, figures: Figures) -> None:
        """A scalar each."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def end(self) -> None:
        """Flush."""
        self._writer.close()


class Mlflow:
    """One MLflow run, in ``mlflow.db`` of the run folder or on the user's server; a resumed run goes on with it."""

    def __init__(self, folder: Path, name: str, _first_step: int) -> None:
        from mlflow import MlflowClient

        self._client: Any = MlflowClient(env.mlflow_address() or f"sqlite:///{folder.absolute()}/mlflow.db")
        known = folder / "mlflow.id"
        if known.exists():
            self._run = known.read_text(encoding="utf-8")
            return
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found is not None else self._new_experiment(folder, name)
        self._run = self._client.create_run(experiment, run_name=folder.name).info.run_id
        known.write_text(self._run, encoding="utf-8")

    def _new_experiment(self, folder: Path, name: str) -> str:
        where = None if env.mlflow_address() else (folder / "mlflow").absolute().as_uri()
        made: str = self._client.create_experiment(name, artifact_location=where)
        return made

    def log(self, step: int, figures: Figures) -> None:
        """One batch of metrics."""
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(n, v, now, step) for n, v in figures.items()])

    def end(self) -> None:
        """Say that the run is over."""
        self._client.set_terminated(self._run)


class WeightsAndBiases:
    """A run in ``wandb/`` of the run folder, offline unless the user's environment says otherwise."""

    def __init__(self, folder: Path, name: str, _first_step: int) -> None:
        import wandb

        mode: Any = env.wandb_mode()
        self._run: Any = wandb.init(
            project=name,
            name=folder.name,
            dir=str(folder),
            mode=mode,
            settings=wandb.Settings(console="off", silent=True),
        )

    def log(self, step: int, figures: Figures) -> None:
        """One row."""
        self._run.log(dict(figures), step=step)

    def end(self) -> None:
        """Finish the run."""
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, str, int], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": Mlflow,
    "wandb": WeightsAndBiases,
}
"""Every tracker, by the name of its package."""


class Tracked:
    """What a process tells, with every step and check of it given to the trackers too."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._open: dict[str, Tracker] = {}

    def begin(self, names: Sequence[str], folder: Path, job: str, first_step: int) -> None:
        """Open those that the job names; "installed" stands for all that are."""
        for name in dict.fromkeys(n for asked in names for n in (TRACKERS if asked == "installed" else [asked])):
            if importlib.util.find_spec(name) is not None:
                self._guarded(name, lambda: self._open.update({name: TRACKERS[name](folder, job, first_step)}))  # noqa: B023 called at once
            elif "installed" not in names:
                self._say(f"{name} is not installed: metrics are in steps.jsonl only (pip install {name})")

    def __call__(self, kind: str, *rest: Any) -> None:
        """Tell it, and log it."""
        self._tell(kind, *rest)
        if kind == "event" and self._open and not isinstance(rest[0], str):
            step, figures = figures_of(rest[0])
            for name, tracker in list(self._open.items()):
                self._guarded(name, lambda: tracker.log(step, figures))  # noqa: B023 called at once

    def end(self) -> None:
        """Close all."""
        for name, tracker in list(self._open.items()):
            self._guarded(name, tracker.end)

    def _say(self, text: str) -> None:
        self._tell("event", text)

    def _guarded(self, name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 another's package must not end a run
            self._open.pop(name, None)
            told = str(error).splitlines() or [type(error).__name__]
            self._say(f"{name} is left out: {told[0]}; metrics are in steps.jsonl")


def figures_of(event: StepRecord | Evaluation) -> tuple[int, Figures]:
    """(steps done, figures by name) of a step or a check."""
    if isinstance(event, Evaluation):
        accuracy = {} if event.accuracy is None else {"held_out/accuracy": event.accuracy}
        return event.step, {"held_out/loss": event.loss, "held_out/perplexity": event.perplexity, **accuracy}
    norm = {} if event.gradient_norm is None else {"train/gradient_norm": event.gradient_norm}
    return event.step + 1, {
        "train/loss": event.loss,
        "train/learning_rate": event.learning_rate,
        "train/per_s": event.tokens / event.seconds,
        **norm,
        **{f"seconds/{part}": value for part, value in event.time.items()},
    }
