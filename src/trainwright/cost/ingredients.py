"""What a step is made of, priced but not yet put together: the part of an estimate that depends on shapes.

Every field is an array: (stages, candidates) where a stage matters, else (candidates,). ``compose`` puts them
together; keeping the two apart lets a calibration scale ingredients of thousands of measured steps at once. ``Work``
and ``States`` depend on different choices, so that a search prices each once for all that it is combined with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from trainwright.cost.exchange import Spans, cp_s, data_parallel, ep_s, norms_s, pp_s, spans, tp_s
from trainwright.cost.numbers import either
from trainwright.cost.offload import offload_s
from trainwright.cost.pipeline import fill_share
from trainwright.cost.pointwise import stream_s
from trainwright.cost.samples import samples_s
from trainwright.cost.setting import Setting
from trainwright.cost.stack import Stack
from trainwright.cost.stages import parts
from trainwright.cost.table import Array, spread
from trainwright.cost.update import update_s
from trainwright.units import Number

OVERLAPS = ("overlap_dp", "overlap_fsdp", "overlap_tp", "overlap_cp", "overlap_pp", "overlap_ep", "interference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What does not depend on how states are sharded or offloaded. Seconds of one micro-batch on each stage.

    ``forward``, ``backward``: products of all but the head; ``attention_*``: attention; ``*_stream``: what memory
    limits; ``head``, ``head_stream``: last norm, head and loss, both ways; ``redo``, ``redo_stream``: recomputed.
    ``tp``, ``cp``, ``ep``, ``norms``: exchanged in all passes (the last by batch norms). ``host``: to issue it all;
    ``send``: one message to the next stage; ``step_idle``: once a step; ``data``: to make a replica's samples, on cores
    that compute.
    """

    forward: Array
    backward: Array
    attention_forward: Array
    attention_backward: Array
    forward_stream: Array
    backward_stream: Array
    head: Array
    head_stream: Array
    redo: Array
    redo_attention: Array
    redo_stream: Array
    tp: Array
    cp: Array
    ep: Array
    norms: Array
    host: Array
    layers: Array
    weight: Array
    send: Array
    step_idle: Array
    data: Array
    n_micro: Array
    pp: Array
    chunks: Array
    fill: Array
    runs_ahead: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """What sharding and offload of the states decide, in seconds.

    ``gather``: parameters gathered for a micro-batch's forward (ZeRO-3); ``regather``: again for backward, with
    gradients scattered; ``reduce``, ``spread``: gradients and updated parameters exchanged once a step;
    ``update``: the optimizer; ``offload``: waiting for the host's memory.
    """

    gather: Array
    regather: Array
    reduce: Array
    spread: Array
    update: Array
    offload: Array

    @property
    def gathers(self) -> bool:
        """Whether any candidate gathers parameters for its micro-batches."""
        return bool(np.any(self.gather))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """Everything of a step; ``overlaps``: the stack's shares, by the names of OVERLAPS."""

    work: Work
    states: States
    overlaps: Mapping[str, Number]


def ingredients(setting: Setting) -> Ingredients:
    """Every ingredient of every candidate."""
    where = spans(setting.table, setting.group, setting.stack)
    return Ingredients(work=work(setting, where), states=states(setting, where), overlaps=overlaps(setting.stack))


def overlaps(stack: Stack) -> dict[str, Number]:
    """The stack's shares of what may be hidden."""
    return {name: getattr(stack, name) for name in OVERLAPS}


def work(setting: Setting, where: Spans) -> Work:
    """The ingredients that sharding does not touch."""
    held, rows, stack = setting.stages, setting.table, setting.stack
    passes = 2.0 + recompute_share(setting)
    wide = {
        **_compute(setting),
        "tp": tp_s(held, rows, where) * passes,
        "cp": cp_s(held, rows, where) * (passes + 1.0),
        "ep": ep_s(held, rows, where, stack) * passes,
        "norms": norms_s(held, rows, where, passes - 1.0),
        "weight": held.weight,
    }
    once: dict[str, Number] = {
        "send": send_s(setting, where),
        "step_idle": stack.step_s,
        "data": samples_s(rows, setting.how.device.kind),
        "n_micro": rows.n_micro,
        "pp": rows.pp,
        "chunks": rows.virtual_stages if rows.strategy.schedule == "interleaved" else 1.0,
        "fill": fill_share(rows),
        "runs_ahead": 0.0 if setting.how.device.kind == "cpu" or not stack.host_ahead else 1.0,
    }
    return Work(**_spread(setting, wide, once))


def states(setting: Setting, where: Spans) -> States:
    """The ingredients that recomputation and the exchange of activations do not touch."""
    held, rows, stack = setting.stages, setting.table, setting.stack
    data = data_parallel(held, rows, where, stack)
    each = either(rows.pp > 1, 0.0, 1.0) if stack.pipelines_gather_once else 1.0
    scattered = each if rows.strategy.zero_stage == 3 and stack.scatter_every_micro_batch else 0.0
    wide = {
        "gather": data.forward_s * each,
        "regather": data.backward_s * each + data.reduce_s * scattered,
        "reduce": data.reduce_s * (1.0 - scattered),
        "spread": data.gather_s + data.forward_s * (1.0 - each),
    }
    trainable = held.total("trainable")
    updates = update_s(trainable, held.total("tensors"), rows, setting.how.device, stack)
    once: dict[str, Number] = {
        "update": np.max(updates, axis=0) * (rows.strategy.offload == "none"),
        "offload": offload_s(trainable, rows, setting.group, stack),
    }
    return States(**_spread(setting, wide, once))


def _spread(setting: Setting, wide: Mapping[str, Array], once: Mapping[str, Number]) -> dict[str, Array]:
    """(stages, candidates) where a stage matters, else (candidates,)."""
    shape = setting.stages.n_body.shape
    found = {name: spread(value, shape) for name, value in wide.items()}
    return found | {name: spread(v, shape[1:]) for name, v in once.items()}


def _compute(setting: Setting) -> dict[str, Array]:
    """Kernel seconds of a micro-batch, and the host's to issue them, per stage."""
    held, stack = setting.stages, setting.stack
    kernels = held.total("forward_kernels") * (1.0 + recompute_share(setting)) + held.total("backward_kernels")
    experts_s = stack.experts_s * held.body.ep_calls * held.n_body
    has_head = np.ones_like(held.has_after) / setting.table.pp if stack.shared_head else held.has_after
    seconds = {
        "forward": held.inner("forward_s"),
        "backward": held.inner("backward_s") + accumulation_s(setting, has_head),
        "forward_stream": held.inner("forward_stream_s"),
        "backward_stream": held.inner("backward_stream_s"),
        "head": (held.after.forward_s + held.after.backward_s) * has_head,
        "head_stream": (held.after.forward_stream_s + held.after.backward_stream_s) * has_head,
        "attention_forward": held.total("attention_forward_s") * attention_scale(setting),
        "attention_backward": held.total("attention_backward_s") * attention_scale(setting),
        **_redone(setting),
    }
    return {
        **(seconds if stack.compute_scale == 1.0 else {name: s * stack.compute_scale for name, s in seconds.items()}),
        "host": kernels * stack.kernel_share * dispatch_s(setting) + experts_s + stack.micro_batch_s,
        "layers": np.maximum(held.n_body, 1.0),
    }


def accumulation_s(setting: Setting, has_head: Array) -> Number:
    """Seconds to add a micro-batch's gradients to those kept, beyond what makes them, per stage.

    bytes a parameter = gradient read + sum read and written; fused into the product: the sum's, less the gradient that
    is not written. The sum is kept as it is reduced, for bf16 in fp32 always. Source: Megatron-LM,
    megatron/model/distributed.py (``main_grad``), megatron/core/tensor_parallel/layers.py
    (``gradient_accumulation_fusion``).
    """
    stack, precision = setting.stack, setting.table.strategy.precision
    if stack.accumulates is None:
        return 0.0
    held, made = setting.stages, setting.how.base_bytes
    kept = stack.reduce_bytes if precision == "fp16" else 4.0
    each = made + 2.0 * kept if stack.accumulates == "added" else 2.0 * kept - made
    trainable = held.inner("trainable") + held.after.trainable * has_head
    return stream_s(np.maximum(trainable * each, 1.0), setting.how.device) * (trainable > 0)


def attention_scale(setting: Setting) -> float:
    """By what attention's time is multiplied: kernels older than those the device's curve was measured with.

    FlashAttention-2 reaches 350 to 400 TFLOP/s on H100 where kernels written for it reach 600 and more forward, and
    310 to 350 backward where they reach 500 and more. Source: Shah et al., arXiv:2407.08608, Figures 5 and 6.
    """
    stack, architecture = setting.stack, setting.how.device.architecture
    older = stack.ampere_flash and stack.attention == "flash" and architecture == "Hopper"
    return stack.attention_scale * (AMPERE_ON_HOPPER if older else 1.0)


AMPERE_ON_HOPPER = 1.6


def dispatch_s(setting: Setting) -> float:
    """Host seconds to issue one kernel: the stack's, or what a probe measured where the device is its own host."""
    device = setting.how.device
    return device.launch_s if device.kind == "cpu" and device.launch_s > 0 else setting.stack.dispatch_s


def join(many: Sequence[Ingredients]) -> Ingredients:
    """Tables of candidates side by side, in the usual three rows of stages."""
    many = [_in_three(one) for one in many]
    lengths = [one.work.n_micro.shape for one in many]
    return Ingredients(
        work=Work(**_joined([one.work for one in many])),
        states=States(**_joined([one.states for one in many])),
        overlaps={
            name: np.concatenate([np.broadcast_to(one.overlaps[name], n) for one, n in zip(many, lengths, strict=True)])
            for name in OVERLAPS
        },
    )


def _in_three(one: Ingredients) -> Ingredients:
    """Stages given one by one as the first, the fullest of those between for all of them, and the last."""
    layers = one.work.layers
    if len(layers) == 3:
        return one
    inner = layers[1:-1]
    fullest = 1 + int(np.argmax(inner[:, 0])) if len(inner) else 0
    rows = [0, fullest, len(layers) - 1]
    between = np.sum(inner, axis=0) / layers[fullest]
    weight = np.stack([np.ones_like(between), between, np.full_like(between, float(len(layers) > 1))])

    def kept(value: Array) -> Array:
        return value[rows] if value.ndim == 2 else value

    work = {f.name: kept(getattr(one.work, f.name)) for f in fields(Work)} | {"weight": weight}
    return replace(
        one, work=Work(**work), states=States(**{f.name: kept(getattr(one.states, f.name)) for f in fields(States)})
    )


def _joined(many: Sequence[Work | States]) -> dict[str, Array]:
    return {f.name: np.concatenate([getattr(one, f.name) for one in many], axis=-1) for f in fields(many[0])}


def pick(parts: Ingredients, index: Array) -> Ingredients:
    """Some of the candidates of ``join``."""
    return Ingredients(
        work=Work(**{f.name: getattr(parts.work, f.name)[..., index] for f in fields(Work)}),
        states=States(**{f.name: getattr(parts.states, f.name)[..., index] for f in fields(States)}),
        overlaps={name: np.asarray(share)[index] for name, share in parts.overlaps.items()},
    )


def recompute_share(setting: Setting) -> Array:
    """Share of the blocks whose forward is gone through again, with what it exchanges."""
    how, stack = setting.table.strategy.recompute, setting.stack
    again = how == "full" or (how == "selective" and stack.selective_streams)
    share: Array = again / setting.table.recompute_every
    return share


def _redone(setting: Setting) -> dict[str, Array]:
    """Seconds of forward repeated in backward, per stage: of products, of attention, and of what memory limits."""
    body, strategy, stack = setting.stages.body, setting.table.strategy, setting.stack
    count = setting.stages.n_body / setting.table.recompute_every
    if strategy.recompute == "selective" and stack.selective_share is None:
        streams = body.forward_stream_s * count if stack.selective_streams else 0.0 * count
        core = body.core_s * count * attention_scale(setting)
        return {"redo": 0.0 * count, "redo_attention": core, "redo_stream": streams}
    share = {"none": 0.0, "selective": stack.selective_share or 0.0, "full": 1.0}[strategy.recompute]
    attention = 0.0 if strategy.recompute == "selective" and stack.attention == "flash" else share
    return {
        "redo": body.forward_s * count * share,
        "redo_attention": body.attention_forward_s * count * attention * attention_scale(setting),
        "redo_stream": body.forward_stream_s * count * share,
    }


def send_s(setting: Setting, where: Spans) -> Array:
    """Seconds to send one micro-batch's activations to the next stage."""
    return pp_s(_boundary_bytes(setting), setting.table, where, setting.stack)


def _boundary_bytes(setting: Setting) -> Array:
    """Bytes of one micro-batch's activations between two stages, before tp divides them."""
    rows = setting.table
    last = parts(setting.model)[1][-1]
    elements: Array = np.asarray(last.boundary.at(rows.micro_batch, rows.workload.seq / rows.cp))
    return elements * setting.how.base_bytes
