"""What the processes of one division measured, as a Cluster of one node."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.hardware.device import (
    AttentionCurve,
    Device,
    Efficiency,
    KernelRate,
    MatmulCurve,
    PassRate,
    ProductCurve,
    Saturation,
    UpdateCalls,
)
from trainwright.hardware.link import Link
from trainwright.probe import fit
from trainwright.probe.division import Division
from trainwright.probe.identity import Identity
from trainwright.probe.samples import Samples

SOURCE = "measured by trainwright probe"
CPU_BLOCK = 16
"""Channels of oneDNN's layout with AVX-512 (nChw16c)."""


def division_cluster(cut: Division, answers: Sequence[Samples], who: Identity, first: Cluster | None = None) -> Cluster:
    """One node of ``n_processes`` devices, joined by what their collectives took.

    Kinds of products that were not measured here are those of the ``first`` division, as much slower (or faster) as
    plain products and streams are.
    """
    link = _link(answers, cut)
    device = _device(cut, answers, who)
    if first is not None:
        device = _completed(device, first.groups[0].device)
    group = NodeGroup(
        device=device,
        n_nodes=1,
        devices_per_node=cut.n_processes,
        intra=link,
        inter=link,
        host_memory_bytes=who.memory_bytes,
    )
    return Cluster(name=cut.name, groups=(group,), notes=(f"{SOURCE}: {who.description}",))


def _device(cut: Division, answers: Sequence[Samples], who: Identity) -> Device:
    """The median process: each measured while the others did the same."""
    peaks, efficiency = _efficiency(cut, answers)
    dispatch = statistics.median((a.dispatch.forward_s + a.dispatch.backward_s) / 2.0 for a in answers)
    is_cpu = cut.device == "cpu"
    return Device(
        name=f"{who.processor} {cut.n_threads} threads" if is_cpu else answers[0].device_name,
        vendor=who.processor.split()[0] if is_cpu else "NVIDIA",
        architecture=who.processor if is_cpu else answers[0].device_name,
        kind="cpu" if is_cpu else "gpu",
        memory_bytes=answers[0].memory_bytes,
        memory_bytes_per_s=max(rate for _, rate in efficiency.stream_points),
        flop_per_s=peaks,
        efficiency=efficiency,
        source=SOURCE,
        n_cores=who.n_cores,
        n_threads=cut.n_threads,
        launch_s=dispatch if is_cpu else statistics.median(a.dispatch.bare_s for a in answers),
    )


def _completed(device: Device, first: Device) -> Device:
    """The device with the first's kinds of products, and what the first lost in a large step, where it has no own."""
    own, known = device.efficiency.products, first.efficiency.products
    stream = device.memory_bytes_per_s / first.memory_bytes_per_s
    borrowed = {
        kind: {dtype: scaled(curve, _ratio(own, known, dtype), stream) for dtype, curve in known[kind].items()}
        for kind in known
        if kind not in own
    }
    efficiency = replace(device.efficiency, products={**own, **borrowed})
    is_told = bool(efficiency.far_points) or not first.efficiency.far_points  # GPUs have no large steps
    return replace(device, efficiency=efficiency if is_told else _slowed(efficiency, first.efficiency))


def _slowed(own: Efficiency, first: Efficiency) -> Efficiency:
    """As much slower in a large step as the first was."""

    def kernel(kind: str) -> KernelRate:
        rate, small, far = own.kernels[kind], first.kernels[kind], first.far_kernels[kind]

        def at(rates: tuple[float, ...], near: tuple[float, ...], large: tuple[float, ...]) -> tuple[float, ...]:
            share = np.interp(rate.elements, far.elements, large) / np.interp(rate.elements, small.elements, near)
            return tuple(float(each) for each in np.array(rates) * share)

        return KernelRate(
            elements=rate.elements,
            forward_per_s=at(rate.forward_per_s, small.forward_per_s, far.forward_per_s),
            backward_per_s=at(rate.backward_per_s, small.backward_per_s, far.backward_per_s),
        )

    points = zip(own.stream_points, first.stream_points, first.far_points, strict=True)
    far_points = tuple((touched, rate * far / small) for (touched, rate), (_, small), (_, far) in points)
    return replace(
        own,
        far_points=far_points,
        far_kernels={kind: kernel(kind) for kind in first.far_kernels},
        update=_slowed_calls(own.update, first.update),
        clipped_update=_slowed_calls(own.clipped_update, first.clipped_update),
    )


def _slowed_calls(own: UpdateCalls, first: UpdateCalls) -> UpdateCalls:
    return replace(
        own,
        far_call_s=own.call_s + first.far_call_s - first.call_s,
        far_tensor_s=own.tensor_s + first.far_tensor_s - first.tensor_s,
    )


def _ratio(
    own: Mapping[str, Mapping[str, ProductCurve]], known: Mapping[str, Mapping[str, ProductCurve]], dtype: str
) -> float:
    """How much faster plain products are here."""
    if "matmul" not in own or "matmul" not in known:
        return 1.0
    return own["matmul"][dtype].forward.flop_per_s / known["matmul"][dtype].forward.flop_per_s


def scaled(curve: ProductCurve, arithmetic: float, stream: float) -> ProductCurve:
    """The curve with so many times the FLOP and the bytes per second."""

    def faster(rate: PassRate) -> PassRate:
        return replace(
            rate,
            flop_per_s=rate.flop_per_s * arithmetic,
            bytes_per_s=rate.bytes_per_s * stream,
            weight_bytes_per_s=rate.weight_bytes_per_s * stream,
        )

    return replace(
        curve,
        forward=faster(curve.forward),
        input_gradient=faster(curve.input_gradient),
        weight_gradient=faster(curve.weight_gradient),
    )


def _efficiency(cut: Division, answers: Sequence[Samples]) -> tuple[dict[str, float], Efficiency]:
    """(peak by dtype, curves)."""
    key_block = fit.CPU_KEY_BLOCK if cut.device == "cpu" else 1
    peaks: dict[str, float] = {}
    matmul: dict[str, MatmulCurve] = {}
    attention: dict[str, AttentionCurve] = {}
    for dtype in sorted({sample.dtype for sample in answers[0].matmuls}):
        matmuls = [s for a in answers for s in a.matmuls if s.dtype == dtype]
        attentions = [s for a in answers for s in a.attention if s.dtype == dtype]
        peaks[dtype], matmul[dtype] = fit.matmul_curve(matmuls)
        attention[dtype] = fit.attention_curve(attentions, key_block)
    bare = statistics.median(a.dispatch.bare_s for a in answers)
    streams = zip(*(fit.stream_points(a.streams, bare) for a in answers), strict=True)
    small, far, near = (_middle(points) for points in streams)
    block = CPU_BLOCK if cut.device == "cpu" else 1
    products = [s for a in answers for s in a.products]
    kernels = [s for a in answers for s in a.kernels]
    if cut.device == "cpu":
        products += [s for a in answers for s in fit.plain_products(a.matmuls, bare)]
    widest = max(rate for _, rate in small)
    unused = Saturation(best=attention["fp32"].forward_flop_per_s / peaks["fp32"], half=0.0)
    return peaks, Efficiency(
        matmul=matmul,
        attention_forward=unused,
        attention_backward=unused,
        stream=Saturation(best=small[-1][1] / widest, half=0.0),
        transcendental_per_s=statistics.median(a.exp_per_s for a in answers),
        stream_points=small,
        far_points=far if any(s.is_far for s in kernels) else (),
        near_points=near,
        attention_curves=attention,
        kernels=fit.kernel_rates([s for s in kernels if not s.is_far]),
        far_kernels=fit.kernel_rates([s for s in kernels if s.is_far or not s.kind]),
        products=fit.product_curves(products, block),
        update=_middle_calls([a.dispatch.update for a in answers]),
        clipped_update=_middle_calls([a.dispatch.clipped_update for a in answers]),
        source=SOURCE,
    )


def _middle_calls(processes: Sequence[UpdateCalls]) -> UpdateCalls:
    return UpdateCalls(
        call_s=statistics.median(calls.call_s for calls in processes),
        tensor_s=statistics.median(calls.tensor_s for calls in processes),
        far_call_s=statistics.median(calls.far_call_s for calls in processes),
        far_tensor_s=statistics.median(calls.far_tensor_s for calls in processes),
    )


def _middle(processes: Sequence[fit.Points]) -> fit.Points:
    """The median process's rate at each size."""
    return tuple((at[0][0], statistics.median(rate for _, rate in at)) for at in zip(*processes, strict=True))


def _link(answers: Sequence[Samples], cut: Division) -> Link:
    """Straight lines for kinds that were not measured, tables for those that were."""
    name = "gloo" if cut.device == "cpu" else "nccl"
    if not answers[0].links:
        return Link(name=name, bytes_per_s=answers[0].streams[-1].touched_bytes / answers[0].streams[-1].seconds,
                    latency_s=1e-4, source=f"{SOURCE}: one process, so a copy in memory")  # fmt: skip
    tables = fit.collectives(answers[0].links)
    latency_s, bytes_per_s = fit.line(tables["p2p"][0])
    return Link(name=name, bytes_per_s=bytes_per_s, latency_s=latency_s, source=SOURCE, measured=tables)
