"""What a plan is asked for: a job file, the name of a model, a Hugging Face folder, or a plan made before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError
from trainwright.jobs.inputs import Input
from trainwright.jobs.job import Job, ModelChoice, OptimizerName, Stopping, TextData, Workload
from trainwright.jobs.keys import SERVING
from trainwright.jobs.model import config_of_job, spec_of_job
from trainwright.jobs.parse import load_job
from trainwright.jobs.serving import Serving, pairs, parse_serving
from trainwright.jobs.store import job_from_dict
from trainwright.jobs.strategy import Strategy
from trainwright.models.file import is_model_file
from trainwright.models.spec import ModelSpec
from trainwright.plan.known import Known
from trainwright.records.plan import PlanRecord, read_plan

USUAL_TOKENS = 2**20
"""Tokens of a step where nobody gives a batch: a million, as GPT-3's small models and LLaMA's early steps have."""


USUAL_SAMPLES = 32
"""Samples of a step of a captured model where nobody gives a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line adds to a model, or changes in a job; None: as the job says, or the usual.

    ``serve``: what a serving job is asked, as text. ``inputs``: what code is fed with. ``lora_rank``: low-rank
    updates alone are trained, ``quantized_base``: beside weights in 4 bits.
    """

    batch: int | None = None
    seq: int | None = None
    steps: int | None = None
    tokens: float | None = None
    optimizer: OptimizerName | None = None
    serve: str | None = None
    inputs: tuple[Input, ...] = ()
    lora_rank: int | None = None
    quantized_base: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A job with its model priced; ``strategy`` and ``cluster`` where a plan made before gives them.

    ``notes``: what was assumed, for people. ``known``: the model where it was captured from the job's code.
    ``usual_batch``: nobody gave the global batch. ``lora_rank``, ``quantized_base``: as asked on the command line.
    """

    job: Job
    model: ModelSpec
    known: Known | None = None
    strategy: Strategy | None = None
    cluster: str | None = None
    notes: tuple[str, ...] = ()
    usual_batch: bool = False
    lora_rank: int | None = None
    quantized_base: bool = False

    @property
    def n_steps(self) -> float | None:
        """Optimizer steps of the whole job; None where it stops when it stops improving."""
        if self.job.stopping.steps is not None:
            return float(self.job.stopping.steps)
        tokens = self.job.stopping.tokens
        return None if tokens is None else tokens / (self.job.global_batch * self.job.seq)

    @property
    def batch(self) -> str:
        """How much one step learns from, for people."""
        if self.model.unit != "tokens":
            return f"{self.job.global_batch} {self.model.unit}"
        return f"{self.job.global_batch} x {self.job.seq} tokens"

    @property
    def config(self) -> dict[str, Any]:
        """The Hugging Face config that a run builds."""
        return config_of_job(self.job) if self.known is None else self.known.config

    @property
    def workload(self) -> Workload:
        """What is priced of the job, with what making its samples takes."""
        work = self.job.workload if self.known is None else replace(self.job.workload, sample_s=self.known.sample_s)
        if self.lora_rank is None:
            return work
        return replace(work, objective="lora", lora_rank=self.lora_rank, quantized_base=self.quantized_base)


Know = Callable[[Job], tuple[Job, Known | None]]
"""Captures the model of a job that names images or code (None: planning can build it), and settles what is open."""


def read_subject(text: str, asked: Asked, know: Know | None = None) -> Subject:
    """The subject that a word on the command line names; jobs of images need ``know``.

    Raises InvalidInputError for what is neither a file nor a known model.
    """
    path = Path(text)
    if "/" in text and ":" not in text and not path.exists():
        raise InvalidInputError(
            f"there is no {text}", hint="give a model's name, a job file, or a folder with the config.json of a model"
        )
    if path.suffix == ".toml":
        job = load_job(path)
    elif _is_plan(path):
        return _of_plan(read_plan(path), asked, know)
    else:
        stopping = Stopping(steps=asked.steps, tokens=asked.tokens)
        data = TextData(builtin="python-reference")
        job = Job(
            name=path.name, model=_choice(text), data=data, global_batch=0, seq=0, stopping=stopping,
            example=asked.inputs,
        )  # fmt: skip
        if job.model.function is not None and not asked.inputs:
            raise InvalidInputError(
                f"{text} takes inputs, and none are described",
                hint="--input 'float32[batch,3,224,224]' or --input 'input_ids=int64[batch,seq]<32000', once for each",
            )
    return _complete(job, asked, know)


def _choice(text: str) -> ModelChoice:
    """A path that is there, code as ``file.py:function`` or ``package.module:function``, or a preset's name."""
    path = Path(text)
    if path.exists() and not is_model_file(path):
        return ModelChoice(huggingface=path)
    place, _, name = text.rpartition(":")
    is_code = name.isidentifier() and (place.endswith(".py") or all(part.isidentifier() for part in place.split(".")))
    return ModelChoice(function=text) if is_code else ModelChoice(preset=text)


def _is_plan(path: Path) -> bool:
    is_record = path.suffix == ".json" and path.name != "config.json" and not is_model_file(path)
    return is_record or (path / "plan.json").exists()


def _of_plan(plan: PlanRecord, asked: Asked, know: Know | None) -> Subject:
    subject = _complete(job_from_dict(plan.job), asked, know)
    written = plan.chosen.strategy.items()
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in written}
    return replace(subject, strategy=Strategy(**fields), cluster=str(plan.cluster["name"]))


def _serving(job: Job, text: str | None) -> Subject:
    """A serving job; what the command line says goes before what the file says."""
    readers = {name: key.read for name, key in SERVING.items()}
    stated = job.serving or Serving()
    asked = stated if text is None else parse_serving(text, stated, readers)
    notes = []
    said = {name for name, _ in pairs(text or "")}
    if job.serving is None and not said & {"prompt", "output", "mix"}:
        notes.append(
            f"requests of {asked.mix[0].prompt} tokens in and {asked.mix[0].output} out (--serve prompt=,output=)"
        )
    whole = replace(job, serving=asked, objective="serve", global_batch=1, seq=asked.longest)
    return Subject(job=whole, model=spec_of_job(whole), notes=tuple(notes))


def _of_images(job: Job, asked: Asked, know: Know) -> Subject:
    """An image job, its model captured at the batch asked for."""
    if asked.seq is not None:
        raise InvalidInputError("--seq is for text, and the job names images", hint="set data.size in the job")
    stopping = job.stopping if asked.steps is None else Stopping(steps=asked.steps)
    optimizer = replace(job.optimizer, name=asked.optimizer) if asked.optimizer else job.optimizer
    batch = asked.batch or job.global_batch
    whole, known = know(replace(job, global_batch=batch, stopping=stopping, optimizer=optimizer))
    assert known is not None, "images are always captured"
    return Subject(job=whole, model=known.spec, known=known)


def _complete(job: Job, asked: Asked, know: Know | None) -> Subject:
    """The job with what the command line adds, and the usual where nothing is said."""
    if asked.serve is not None or job.serving is not None:
        return _serving(job, asked.serve)
    if job.images is not None and know is not None:
        return _of_images(job, asked, know)
    notes = []
    seq = job.seq if asked.seq is None else asked.seq
    batch = job.global_batch if asked.batch is None else asked.batch
    job = replace(job, seq=seq, global_batch=batch)
    known = None if know is None else know(job)[1]
    model = spec_of_job(replace(job, seq=seq or 1)) if known is None else known.spec
    if known is not None and model.unit != "tokens":
        seq = 1
    if not seq and asked.seq is None:
        seq = min(model.max_seq, 8192)
        notes.append(f"sequences of {seq} tokens (--seq)")
    if not batch and asked.batch is None and known is not None:
        batch = USUAL_SAMPLES
        notes.append(f"a global batch of {batch} samples (--batch)")
    elif not batch and asked.batch is None:
        batch = max(1, USUAL_TOKENS // max(seq, 1))
        notes.append(f"a global batch of {batch} sequences, a million tokens (--batch)")
    if seq > model.max_seq:
        notes.append(f"{seq} tokens are more than the {model.max_seq} that {model.name} was made for")
    is_told = asked.steps is not None or asked.tokens is not None
    stopping = Stopping(steps=asked.steps, tokens=asked.tokens) if is_told else job.stopping
    optimizer = replace(job.optimizer, name=asked.optimizer) if asked.optimizer else job.optimizer
    whole = replace(job, global_batch=batch, seq=seq, stopping=stopping, optimizer=optimizer)
    if batch < 1 or seq < 1:
        raise InvalidInputError(
            f"a batch of {batch} sequences of {seq} tokens is none", hint="give whole numbers above 0"
        )
    return Subject(
        job=whole,
        model=model,
        notes=tuple(notes),
        known=known,
        usual_batch=not job.global_batch and asked.batch is None,
        lora_rank=asked.lora_rank,
        quantized_base=asked.quantized_base,
    )
