"""The ingredients of a step put together: what overlaps, what the host holds up, what the pipeline waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainwright.cost.ingredients import Ingredients
from trainwright.cost.overlap import exposed_s, host_bound_s
from trainwright.cost.table import Array
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """By what each kind of ingredient is multiplied: constants of a device, a link or a stack, 1 before calibration."""

    compute: Number = 1.0
    attention: Number = 1.0
    stream: Number = 1.0
    head: Number = 1.0
    tp: Number = 1.0
    cp: Number = 1.0
    ep: Number = 1.0
    dp: Number = 1.0
    pp: Number = 1.0
    host: Number = 1.0
    update: Number = 1.0
    overlap: Number = 1.0


AS_IS = Scales()


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """Exposed and hidden seconds of a step by part; names as in Estimate.time."""

    time: Mapping[str, Array]
    hidden: Mapping[str, Array]

    @property
    def step_s(self) -> Array:
        """All parts."""
        total: Array = sum(self.time.values(), start=np.zeros(1))
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class _MicroBatch:
    """Seconds of one micro-batch on each stage, by part: (stages, candidates)."""

    forward: Array
    backward: Array
    redo: Array
    head: Array
    exposed: Mapping[str, Number]
    hidden: Mapping[str, Number]
    dispatch: Array

    @property
    def total(self) -> Number:
        compute = self.forward + self.backward + self.redo + self.head
        return sum(self.exposed.values(), start=compute) + self.dispatch


def compose(parts: Ingredients, scales: Scales = AS_IS) -> Composed:
    """Seconds of one step by part.

    A stage's micro-batch: compute, exposed communication, and what the host takes beyond both. A step: n_micro of
    them on the slowest stage, the bubble, exposed sends, gradients behind the last backward, the update.
    """
    one = _micro_batch(parts, scales)
    stage_s = np.asarray(one.total)
    slowest = np.where(parts.weight > 0, stage_s, 0.0)
    pace = np.argmax(slowest, axis=0)[None, :]

    def paced(value: Number) -> Array:
        picked: Array = np.take_along_axis(np.broadcast_to(value, stage_s.shape), pace, axis=0)[0]
        return picked * parts.n_micro

    reduce_s, reduce_hidden = _reductions(parts, scales, one)
    time = {
        "forward": paced(one.forward),
        "backward": paced(one.backward),
        "recompute": paced(one.redo),
        "head_loss": paced(one.head),
        "optimizer": parts.step_update * scales.update,
        **{f"{axis}_communication": paced(value) for axis, value in one.exposed.items()},
        "pp_communication": _sends(parts, scales),
        "bubble": np.maximum(np.sum(stage_s * parts.weight, axis=0) - np.max(slowest, axis=0), 0.0) * parts.fill,
        "dispatch": paced(one.dispatch) + parts.step_idle,
        "offload": parts.step_offload,
    }
    hidden = {f"{axis}_communication": paced(value) for axis, value in one.hidden.items()}
    time["dp_communication"] = time["dp_communication"] + reduce_s
    hidden["dp_communication"] = hidden["dp_communication"] + reduce_hidden
    return Composed(time=time, hidden=hidden)


def total_s(parts: Ingredients, scales: Scales = AS_IS) -> Array:
    """The seconds of ``compose``, all parts together: what a search needs."""
    one = _micro_batch(parts, scales)
    stage_s = np.asarray(one.total)
    slowest = np.max(np.where(parts.weight > 0, stage_s, 0.0), axis=0)
    bubble = np.maximum(np.sum(stage_s * parts.weight, axis=0) - slowest, 0.0) * parts.fill
    reduce_s, _ = _reductions(parts, scales, one)
    once = parts.step_update * scales.update + parts.step_idle + parts.step_offload
    total: Array = slowest * parts.n_micro + bubble + reduce_s + _sends(parts, scales) + once
    return total


def micro_batch_s(parts: Ingredients, scales: Scales = AS_IS) -> Array:
    """Seconds of one micro-batch on each stage, both ways: what a division of the blocks has to balance."""
    return np.asarray(_micro_batch(parts, scales).total)


def _micro_batch(parts: Ingredients, scales: Scales) -> _MicroBatch:
    """What one micro-batch takes on each stage, with what overlaps inside it."""
    attention = parts.attention_forward * scales.attention, parts.attention_backward * scales.attention
    forward = parts.forward * scales.compute + attention[0] + parts.forward_stream * scales.stream
    backward = parts.backward * scales.compute + attention[1] + parts.backward_stream * scales.stream
    redo = parts.redo * scales.compute + parts.redo_attention * scales.attention + parts.redo_stream * scales.stream
    head = (parts.head * scales.compute + parts.head_stream * scales.stream) * scales.head
    work, k = forward + backward + redo, parts.interference

    def share(of: Array) -> Array:
        return np.minimum(of * scales.overlap, 1.0)

    tp = exposed_s(parts.tp * scales.tp, work, share(parts.overlap_tp), k)
    cp = exposed_s(parts.cp * scales.cp, attention[0] + attention[1], share(parts.overlap_cp), k)
    ep = exposed_s(parts.ep * scales.ep, work, share(parts.overlap_ep), k)
    ahead = exposed_s(parts.gather * scales.dp, forward + 0.3 * head, share(parts.overlap_fsdp), k)
    behind = exposed_s(parts.regather * scales.dp, backward + redo + 0.7 * head, share(parts.overlap_fsdp), k)
    edge = (parts.gather + 0.5 * parts.regather) * scales.dp / parts.layers * (parts.gather > 0)
    exposed = {"tp": tp[0], "cp": cp[0], "ep": ep[0], "dp": ahead[0] + behind[0] + edge}
    hidden = {"tp": tp[1], "cp": cp[1], "ep": ep[1], "dp": ahead[1] + behind[1]}
    device_s = sum(exposed.values(), start=work + head)
    host_s = parts.host * scales.host
    wait = np.where(parts.runs_ahead > 0, host_bound_s(host_s, device_s), host_s)
    return _MicroBatch(
        forward=forward, backward=backward, redo=redo, head=head, exposed=exposed, hidden=hidden, dispatch=wait
    )


def _reductions(parts: Ingredients, scales: Scales, one: _MicroBatch) -> tuple[Array, Array]:
    """Once a step: gradients behind the last micro-batch's backward, updated parameters behind the next forward."""
    share, k = np.minimum(parts.overlap_dp * scales.overlap, 1.0), parts.interference
    window = one.backward + one.redo + 0.7 * one.head
    shown, hidden = exposed_s(parts.step_reduce * scales.dp, window, share, k)
    shown_gather, hidden_gather = exposed_s(parts.step_gather * scales.dp, one.forward, share, k)
    return np.max(shown + shown_gather, axis=0), np.max(hidden + hidden_gather, axis=0)


def _sends(parts: Ingredients, scales: Scales) -> Array:
    """Exposed seconds of sends between stages.

    Each micro-batch is received forward and backward once for every chunk of the model that a stage holds; the fill
    and the drain pass every boundary once more.
    """
    steady = 2.0 * parts.n_micro * parts.chunks * (1.0 - np.minimum(parts.overlap_pp, 1.0))
    seconds: Array = parts.send * scales.pp * (steady + 2.0 * (parts.pp - 1.0))
    return np.where(parts.pp > 1, seconds, 0.0)
