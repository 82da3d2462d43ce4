"""The ingredients of a step put together: what overlaps, what the host holds up, what the pipeline waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from trainwright.cost.ingredients import Ingredients, States, Work
from trainwright.cost.overlap import exposed_s, host_bound_s
from trainwright.cost.table import Array, spread
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
class Busy:
    """One micro-batch on each stage, (stages, candidates), but for the exchange of states.

    ``exposed``, ``hidden``: activations exchanged, by axis; ``device_s``: all that the device does one after another;
    ``host_s``: what it takes to issue it; ``sends_s``: exposed sends between stages, of the whole step.
    """

    forward: Array
    backward: Array
    redo: Array
    head: Array
    exposed: Mapping[str, Number]
    hidden: Mapping[str, Number]
    device_s: Array
    host_s: Array
    sends_s: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What a step takes without its states, as far as their exchange needs to know.

    (stages, candidates): one micro-batch's ``forward``; ``ahead_s`` and ``behind_s``: what parameters gathered for
    forward, and gradients, may hide behind; ``layers`` they come in; ``device_s``, ``host_s`` and ``weight`` as in Busy
    and Work. (candidates,): the whole step's ``alone_s`` if nothing were gathered, and ``rest_s`` of it that is no
    micro-batch.
    """

    forward: Array
    ahead_s: Array
    behind_s: Array
    layers: Array
    device_s: Array
    host_s: Array
    weight: Array
    n_micro: Array
    fill: Array
    runs_ahead: Array
    rest_s: Array
    alone_s: Array


def compose(parts: Ingredients, scales: Scales = AS_IS) -> Composed:
    """Seconds of one step by part.

    A stage's micro-batch: compute, exposed communication, and what the host takes beyond both. A step: n_micro of
    them on the slowest stage, the bubble, exposed sends, gradients behind the last backward, the update.
    """
    work, states = parts.work, parts.states
    one, share = busy(work, parts.overlaps, scales), shares(parts.overlaps, scales)
    steady = steady_of(one, work)
    gathered, gathered_hidden = _gathers(states, steady, share)
    reduced, reduced_hidden = _reductions(states, steady, share)
    waited = _wait_s(work.runs_ahead, one.host_s, one.device_s + gathered)
    stage_s = one.device_s + gathered + waited
    slowest = np.where(work.weight > 0, stage_s, 0.0)
    pace = np.argmax(slowest, axis=0), np.arange(slowest.shape[1])

    def paced(value: Number) -> Array:
        picked: Array = spread(value, stage_s.shape)[pace]
        return picked * work.n_micro

    hidden = {f"{axis}_communication": paced(value) for axis, value in one.hidden.items()}
    hidden["dp_communication"] = paced(gathered_hidden) + np.max(reduced_hidden, axis=0)
    return Composed(
        time={
            "forward": paced(one.forward),
            "backward": paced(one.backward),
            "recompute": paced(one.redo),
            "head_loss": paced(one.head),
            "optimizer": states.update * share["update"],
            **{f"{axis}_communication": paced(value) for axis, value in one.exposed.items()},
            "dp_communication": paced(gathered + one.exposed["dp"]) + np.max(reduced, axis=0),
            "pp_communication": one.sends_s,
            "bubble": _bubble_s(stage_s, np.max(slowest, axis=0), steady),
            "dispatch": paced(waited) + work.step_idle,
            "data": work.data,
            "offload": states.offload,
        },
        hidden=hidden,
    )


def micro_batch_s(parts: Ingredients, scales: Scales = AS_IS) -> Array:
    """Seconds of one micro-batch on each stage, both ways, with what it cannot hide."""
    one, share = busy(parts.work, parts.overlaps, scales), shares(parts.overlaps, scales)
    device_s = one.device_s + _gathers(parts.states, steady_of(one, parts.work), share)[0]
    return device_s + _wait_s(parts.work.runs_ahead, one.host_s, device_s)


def total_s(steady: Steady, states: States, share: Mapping[str, Number]) -> Array:
    """The seconds of ``compose``, all parts together: what a search needs."""
    alone_s = steady.alone_s
    if states.gathers:
        device_s = steady.device_s + _gathers(states, steady, share)[0]
        alone_s = _micro_batches_s(device_s, steady) + steady.rest_s
    total: Array = alone_s + np.max(_reductions(states, steady, share)[0], axis=0)
    return total + states.update * share["update"] + states.offload


def steady_of(one: Busy, work: Work) -> Steady:
    """What the exchange of states needs to know of the rest of a step."""
    rest_s = one.sends_s + work.step_idle + work.data
    steady = Steady(
        forward=one.forward,
        ahead_s=one.forward + 0.3 * one.head,
        behind_s=one.backward + one.redo + 0.7 * one.head,
        layers=work.layers,
        device_s=one.device_s,
        host_s=one.host_s,
        weight=work.weight,
        n_micro=work.n_micro,
        fill=work.fill,
        runs_ahead=work.runs_ahead,
        rest_s=rest_s,
        alone_s=rest_s,
    )
    return replace(steady, alone_s=_micro_batches_s(one.device_s, steady) + rest_s)


def _micro_batches_s(device_s: Array, steady: Steady) -> Array:
    """Seconds of all micro-batches on the slowest stage, and of the bubble."""
    stage_s, weight = device_s + _wait_s(steady.runs_ahead, steady.host_s, device_s), steady.weight
    slowest = np.max(np.where(weight > 0, stage_s, 0.0), axis=0)
    total: Array = slowest * steady.n_micro + _bubble_s(stage_s, slowest, steady)
    return total


def _bubble_s(stage_s: Array, slowest_s: Array, steady: Steady) -> Array:
    """What the schedule leaves idle of the fill and the drain."""
    idle: Array = np.maximum(np.sum(stage_s * steady.weight, axis=0) - slowest_s, 0.0) * steady.fill
    return idle


def busy(work: Work, overlaps: Mapping[str, Number], scales: Scales) -> Busy:
    """What one micro-batch takes on each stage, with what overlaps inside it."""
    attention = work.attention_forward * scales.attention, work.attention_backward * scales.attention
    forward = work.forward * scales.compute + attention[0] + work.forward_stream * scales.stream
    backward = work.backward * scales.compute + attention[1] + work.backward_stream * scales.stream
    redo = work.redo * scales.compute + work.redo_attention * scales.attention + work.redo_stream * scales.stream
    head = (work.head * scales.compute + work.head_stream * scales.stream) * scales.head
    inside, share = forward + backward + redo, shares(overlaps, scales)
    beside = {
        "tp": (work.tp * scales.tp, inside),
        "cp": (work.cp * scales.cp, attention[0] + attention[1]),
        "ep": (work.ep * scales.ep, inside),
    }
    both = {axis: exposed_s(*pair, share[axis], share["interference"]) for axis, pair in beside.items()}
    both["dp"] = work.norms * scales.dp, np.zeros_like(work.norms)  # all compute waits for a norm's statistics
    return Busy(
        forward=forward,
        backward=backward,
        redo=redo,
        head=head,
        exposed={axis: pair[0] for axis, pair in both.items()},
        hidden={axis: pair[1] for axis, pair in both.items()},
        device_s=np.asarray(sum((pair[0] for pair in both.values()), start=inside + head)),
        host_s=work.host * scales.host,
        sends_s=_sends(work, overlaps, scales),
    )


def shares(overlaps: Mapping[str, Number], scales: Scales) -> dict[str, Number]:
    """Shares of what may be hidden, by axis, as measurements corrected them; and scales of what states take."""
    axes = ("tp", "cp", "ep", "dp", "fsdp")
    found = {axis: np.minimum(overlaps[f"overlap_{axis}"] * scales.overlap, 1.0) for axis in axes}
    return found | {"interference": overlaps["interference"], "states": scales.dp, "update": scales.update}


def _gathers(states: States, steady: Steady, share: Mapping[str, Number]) -> tuple[Array, Array]:
    """(exposed, hidden) seconds of parameters gathered for a micro-batch: all but the first layer's may hide."""
    gather, regather = states.gather * share["states"], states.regather * share["states"]
    ahead = exposed_s(gather, steady.ahead_s, share["fsdp"], share["interference"])
    behind = exposed_s(regather, steady.behind_s, share["fsdp"], share["interference"])
    edge = (gather + 0.5 * regather) / steady.layers * (gather > 0)
    return np.asarray(ahead[0] + behind[0] + edge), np.asarray(ahead[1] + behind[1])


def _wait_s(runs_ahead: Array, host_s: Array, device_s: Array) -> Array:
    """Seconds of a micro-batch that the device waits for its host."""
    return np.where(runs_ahead > 0, host_bound_s(host_s, device_s), host_s)


def _reductions(states: States, steady: Steady, share: Mapping[str, Number]) -> tuple[Array, Array]:
    """Once a step: gradients behind the last micro-batch's backward, updated parameters behind the next forward."""
    reduced = exposed_s(states.reduce * share["states"], steady.behind_s, share["dp"], share["interference"])
    spread = exposed_s(states.spread * share["states"], steady.forward, share["dp"], share["interference"])
    return np.asarray(reduced[0] + spread[0]), np.asarray(reduced[1] + spread[1])


def _sends(work: Work, overlaps: Mapping[str, Number], scales: Scales) -> Array:
    """Exposed seconds of sends between stages.

    Each micro-batch is received forward and backward once for every chunk of the model that a stage holds; the fill
    and the drain pass every boundary once more.
    """
    steady = 2.0 * work.n_micro * work.chunks * (1.0 - np.minimum(overlaps["overlap_pp"], 1.0))
    seconds: Array = work.send * scales.pp * (steady + 2.0 * (work.pp - 1.0))
    return np.where(work.pp > 1, seconds, 0.0)
