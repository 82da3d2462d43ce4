"""Does a plan compute what one process computes? Tried for real, on a tiny model of the same kind, in seconds.

Every process takes a few SGD steps of its part under the plan's strategy, then the whole batch alone, and compares
losses, gradient norms, first gradients and last weights, each with its share of the whole. Shapes that fit do not prove
a division right: a norm held whole but used on divided heads gives the right loss and a wrong gradient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from trainwright.capture.inputs import example_of
from trainwright.errors import InvalidInputError, NumericsError
from trainwright.jobs.inputs import Input
from trainwright.jobs.job import Job
from trainwright.jobs.store import job_from_dict
from trainwright.jobs.strategy import Strategy
from trainwright.probe.allocator import collect_again
from trainwright.records.plan import read_plan
from trainwright.runtime.batchnorm import join_batch_norms
from trainwright.runtime.launch import Orders, launch
from trainwright.runtime.mesh import STATES, Mesh, make_mesh
from trainwright.runtime.model import build_model
from trainwright.runtime.own import Sample, trains_in_parts
from trainwright.runtime.place import Place, join_local, use_threads
from trainwright.runtime.portion import micro_size
from trainwright.runtime.precision import precision
from trainwright.runtime.shard import Sharded, shard_model

N_STEPS = 5
RATE = 0.1
RATE_OF_CLASSES = 0.01
"""Classifiers with normalized planes blow up rounding at large rates."""
TOLERANCE = 1e-5
"""What rounding in fp32 may do to losses, gradients and (relative) norms of a tiny model."""

ROWS = 8
"""Images, or samples of made-up inputs, that each replica sees in a step."""
EXAMPLE_SEQ = 8

Rows = Tensor | Sample
Batch = Callable[[int], tuple[Rows, Tensor]]
"""Inputs and targets of the whole batch of a step."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A few steps as one process saw them: gradients of the first, weights after the last."""

    losses: list[float]
    norms: list[float]
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    sharded: Sharded


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Largest differences from the one-process run; ``worst`` is the parameter whose gradient is furthest off."""

    losses: float
    norms: float
    gradients: float
    weights: float
    worst: str
    n_gradients: int


def verify_plan(folder: Path) -> Difference:
    """Verify the plan of a run folder; raises NumericsError when it does not compute what one process would."""
    plan = read_plan(folder)
    orders = Orders(
        module="trainwright.runtime.verify", folder=folder, n_processes=plan.chosen.n_processes, n_threads=1
    )
    found: Difference = launch(orders, lambda _event: None)
    if max(found.losses, found.norms, found.gradients) > TOLERANCE:
        raise NumericsError(
            f"the plan does not compute what one process computes: losses differ by {found.losses:.1g}, the gradient "
            f"of {found.worst} by {found.gradients:.1g}, the norm of all by {found.norms:.1g}; rounding explains "
            f"{TOLERANCE:.0e}",
            hint=_advice(plan.chosen.strategy, int(plan.job["global_batch"])),
        )
    return found


def _advice(strategy: Mapping[str, Any], global_batch: int) -> str:
    coupled = (
        "a model that couples the rows of its batch (statistics over it, a loss between rows or summed over them) or "
        f'draws random numbers gives every part its own: --strategy "dp=1,micro_batch={global_batch}" keeps it whole'
    )
    divided = [axis for axis in ("tp", "cp", "pp", "ep") if strategy[axis] > 1]
    if not divided:
        return coupled
    return f"plan without {', '.join(divided)}, or correct the model's tensor_plan; {coupled}"


def work(orders: Orders, telephone: Any) -> Difference:
    """What each process of verify_plan does."""
    place = Place(rank=orders.rank, n_processes=orders.n_processes, local_rank=orders.rank)
    use_threads(1)
    port = None if place.leads else telephone.ask()
    join_local(place, port, lambda opened: telephone.tell("port", opened))
    plan = read_plan(orders.folder)
    job, given = job_from_dict(plan.job), plan.chosen.strategy
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    strategy = dataclasses.replace(Strategy(**fields), micro_batch=2, precision="fp32", stages=None)
    if job.images is not None or job.example:  # a batch norm takes its statistics over what all replicas see at once
        strategy = dataclasses.replace(strategy, micro_batch=ROWS, samples=None)
    config = tiny(plan.model, strategy)
    batch = partial(drawn_batch, job, strategy, int(config.get("vocab_size", 64)))

    def build() -> nn.Module:
        return still(roughen(build_model(config, seed=3)))

    if job.example and trains_in_parts(build()):
        raise InvalidInputError(
            "a module that trains in parts, each with its own update, is not held against one process",
            hint="leave --verify out",
        )
    collect_again()
    # one process takes the whole batch at once: what couples its rows, as batch statistics do, then differs
    undivided = dataclasses.replace(strategy, **_UNDIVIDED, micro_batch=len(batch(0)[1]))
    alone = take_steps(build, batch, undivided, Mesh(sizes={}, indexes={}))
    return agree(compare(take_steps(build, batch, strategy, make_mesh(strategy, place)), alone), place)


def drawn_batch(job: Job, strategy: Strategy, vocabulary: int, step: int) -> tuple[Rows, Tensor]:
    """Made-up inputs of the job's kind and targets for one step, the same on every process."""
    generator = torch.Generator().manual_seed(step)
    n_rows = ROWS * int(strategy.dp)
    if job.example:
        values = example_of(job.example, n_rows, EXAMPLE_SEQ, "cpu", generator)
        return Sample(values=values, n_rows=n_rows, rows_at=_rows_at(job.example)), torch.zeros(n_rows)
    if job.images is not None:
        channels, side = job.images.channels or 3, job.images.size or 8
        shown = torch.randint(2, (n_rows,), generator=generator)
        return torch.randn(n_rows, channels, side, side, generator=generator), shown
    seq = 8 * int(strategy.tp) * int(strategy.cp)
    shape = (sum(strategy.samples or ()) or 4 * int(strategy.dp) * int(strategy.pp), seq + 1)
    ids = torch.randint(vocabulary, shape, generator=generator)
    return ids[:, :-1], ids[:, 1:]


def _rows_at(inputs: Sequence[Input]) -> dict[str | int, int]:
    """Which dimension of each input is the batch; one that grows with it in another way cannot be cut."""
    found: dict[str | int, int] = {}
    for position, each in enumerate(inputs):
        growing = [number for number, dim in enumerate(each.dims) if "batch" in dim]
        if growing and [each.dims[number] for number in growing] != ["batch"]:
            raise InvalidInputError(
                f"an input of {', '.join(each.dims)} cannot be cut into rows, so that nothing can be held against one "
                "process",
                hint="leave --verify out, or give every input one dimension that is batch",
            )
        if growing:
            found[position if each.name is None else each.name] = growing[0]
    return found


_UNDIVIDED: dict[str, Any] = {
    "dp": 1, "tp": 1, "cp": 1, "pp": 1, "ep": 1, "zero_stage": 0, "shard": None, "virtual_stages": 1,
    "sequence_parallel": False, "samples": None,
}  # fmt: skip


def tiny(config: dict[str, Any], strategy: Strategy) -> dict[str, Any]:
    """The configuration with narrow, few layers; heads, experts, ties and everything else as they are."""
    if "function" in config:
        return config
    heads = int(config.get("num_attention_heads", config.get("n_head", 4)))
    n_layers = max(2, int(strategy.pp) * int(strategy.virtual_stages))
    sizes = {
        "hidden_size": 8 * heads, "n_embd": 8 * heads, "head_dim": 8, "num_hidden_layers": n_layers,
        "n_layer": n_layers, "intermediate_size": 16 * heads, "n_inner": 16 * heads, "vocab_size": 101,
    }  # fmt: skip
    ends = {name: 0 for name in ("bos_token_id", "eos_token_id", "pad_token_id") if config.get(name) is not None}
    dropout = {name: 0.0 for name in config if "dropout" in name or name.endswith("_pdrop")}
    shrunk = {name: size for name, size in sizes.items() if config.get(name) is not None}
    return {**config, **shrunk, **ends, **dropout}


def roughen(model: nn.Module) -> nn.Module:
    """Noise on every parameter: zeros and ones, which models begin with, hide mistakes."""
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def still(model: nn.Module) -> nn.Module:
    """Without dropout, which every process draws for itself."""
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
    return model


def take_steps(build: Callable[[], nn.Module], batch: Batch, strategy: Strategy, mesh: Mesh) -> Outcome:
    """N_STEPS of SGD on this process's part."""
    sharded = shard_model(build(), strategy, mesh)
    if mesh.dp > 1:
        join_batch_norms(sharded.model, mesh.group(*STATES, "rep"))
    out = Outcome(losses=[], norms=[], gradients={}, weights={}, sharded=sharded)
    optimizer = torch.optim.SGD(sharded.parameters, lr=RATE if batch(0)[1].dim() > 1 else RATE_OF_CLASSES)
    for step in range(N_STEPS):
        inputs, targets = batch(step)
        n_targets = int((targets != -100).sum())
        each: Any = strategy.samples or len(targets) // mesh.dp
        mine, wanted = inputs.split(each)[mesh.dp_index], targets.split(each)[mesh.dp_index]
        size = micro_size(strategy, mesh.dp_index)
        micros = list(zip(mine.split(size), wanted.split(size), strict=True))
        loss = sharded.gradients(micros, 1.0 / n_targets, precision(strategy.precision), lambda _part: None)
        loss_value, norm, _ = sharded.join(loss, ())
        out.losses.append(loss_value)
        out.norms.append(norm)
        if step == 0:
            out.gradients.update({n: p.grad.clone() for n, p in sharded.local.items() if p.grad is not None})
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        sharded.after_update()
    out.weights.update({n: p.detach().clone() for n, p in sharded.local.items()})
    return out


def compare(got: Outcome, alone: Outcome) -> Difference:
    """How far this process's part is from the whole that it computed alone."""
    gradients = {name: _distance(name, got.gradients, alone.gradients, got.sharded) for name in got.gradients}
    worst = max(gradients, key=gradients.__getitem__)
    return Difference(
        losses=max(abs(a - b) for a, b in zip(got.losses, alone.losses, strict=True)),
        norms=max(abs(a - b) / b for a, b in zip(got.norms, alone.norms, strict=True)),
        gradients=gradients[worst],
        weights=max(_distance(name, got.weights, alone.weights, got.sharded) for name in got.weights),
        worst=worst,
        n_gradients=len(gradients),
    )


def agree(mine: Difference, place: Place) -> Difference:
    """The largest of every process's differences, on all of them."""
    everyone: list[Any] = [mine] * place.n_processes
    if place.n_processes > 1:
        dist.all_gather_object(everyone, mine)
    worst = max(everyone, key=lambda each: each.gradients)
    return Difference(
        losses=max(each.losses for each in everyone),
        norms=max(each.norms for each in everyone),
        gradients=worst.gradients,
        weights=max(each.weights for each in everyone),
        worst=worst.worst,
        n_gradients=min(each.n_gradients for each in everyone),
    )


def _distance(name: str, parts: dict[str, Tensor], wholes: dict[str, Tensor], sharded: Sharded) -> float:
    part, share = parts[name], sharded.shares.get(name)
    if share is None:
        return float((part - wholes[name]).abs().max())
    gaps = [(part[s.local_slices] - wholes[name][s.whole_slices]).abs().max() for s in share.spans]
    return max(map(float, gaps), default=0.0)
