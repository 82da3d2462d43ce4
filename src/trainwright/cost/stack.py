"""The software that runs a step: what it fuses, what it overlaps, what its host side costs.

The same split runs differently in Megatron of 2021 and in torchtitan of 2026; ``data/stacks.toml`` holds one entry a
stack, every constant with its source. Constants marked "fitted" come from tools/fit_stacks.py.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Literal

from trainwright.errors import InvalidInputError, unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One software stack. Shares are of what could be hidden or skipped, seconds are of one host thread.

    ``attention``: the kernel; ``causal_skip``: whether it skips the masked half;
    ``attention_scale`` multiplies its time (kernels older than those the device's curve was measured with).
    ``softmax_multiple``: plain attention scales, masks and takes the softmax in one kernel where samples times heads on
    a device are a multiple of this, and writes each out elsewhere.
    ``ampere_flash``: its fused attention is FlashAttention 1 or 2 (PyTorch's SDPA too), written for Ampere.
    ``shared_head``: pipeline stages divide the head and the loss among them. ``fused``: norms, rotary and
    activations are one kernel each (else as eager PyTorch writes them out); ``autocast``: parameters and the residual
    stream stay in fp32, and every product casts what it reads, both ways (``casts`` in memory.toml);
    ``pointwise_traffic`` multiplies the bytes
    of what remains (a compiler fuses neighbours), ``kernel_share`` the kernels launched.
    ``compute_scale`` multiplies every kernel's time (framework overhead inside the graph: casts, layouts, clocks).

    ``dispatch_s``: host seconds to issue one kernel; ``micro_batch_s``: further host seconds per micro-batch, and
    ``experts_s`` for each block with experts in it, which waits for the count of tokens that each was sent;
    ``step_s``: seconds the device waits once a step. ``host_ahead``: whether the host issues kernels while the device
    works.

    ``overlap_*``: share of that communication which may run behind compute (dp: gradients behind backward; fsdp:
    parameter gathers; tp: chunks behind matmuls; cp: ring steps behind attention; pp: sends behind the next
    micro-batch; ep: dispatch behind the other micro-batch). ``interference``: both sides of an overlap slow down by
    this factor less one, times the shorter.

    ``accumulates``: how a micro-batch's gradient joins those kept in a buffer: "added" by a kernel of its own, "fused"
    into the product that makes it; None where micro-batches are reduced and sharded, or the first is simply kept.
    ``gradient_bytes`` and ``reduce_bytes``: per element, kept and communicated. ``logits_bytes``: per element of the
    logits, which the loss reads or writes ``loss_passes`` times in all. ``parameter_bytes`` None: as the compute dtype
    (mixed precision keeps fp32 beside it when ``master_weights``). ``selective_share``: what share of a block's forward
    "selective" recomputes; None: the attention core only. ``selective_streams``: all but products and attention, which
    it keeps. ``scatter_every_micro_batch``: fully sharded gradients are
    reduced after each micro-batch. ``pipelines_gather_once``: with stages, what is gathered stays for all
    micro-batches of a step, and gradients are scattered after the last. ``sequence_parallel``: what tp does in this
    software when nobody says.
    ``scatter_sends``: stages send each tensor-parallel rank its part and gather it there, else each the whole.
    ``rings``: its NCCL sums between nodes in rings or trees over all ranks, never inside nodes first.
    ``sends_once``: a token for several experts of another node crosses the network once (DeepEP, HybridEP).
    ``joins_norms``: batch norms take their statistics over all replicas.
    ``corrected``: whether constants of published steps apply (corrections.py), or kernels stand as they are priced.
    ``block_scaled``: 8-bit formats have a scale for each few elements (MXFP8), which no norm writes.
    ``convolution``: priced as the plain product it stands for (what the corrections of stacks with published networks
    were fitted with) or as its kernel; ``channels_last``: images lie in memory as tensor cores want them.
    """

    name: str
    source: str
    summary: str
    attention: Literal["flash", "plain"] = "flash"
    causal_skip: bool = True
    attention_scale: float = 1.0
    softmax_multiple: float = 1.0
    ampere_flash: bool = False
    shared_head: bool = False
    autocast: bool = False
    fused: bool = True
    pointwise_traffic: float = 1.0
    kernel_share: float = 1.0
    compute_scale: float = 1.0
    dispatch_s: float = 6e-6
    experts_s: float = 0.0
    micro_batch_s: float = 0.0
    step_s: float = 0.0
    host_ahead: bool = True
    overlap_dp: float = 1.0
    overlap_fsdp: float = 1.0
    overlap_tp: float = 0.0
    overlap_cp: float = 1.0
    overlap_pp: float = 0.0
    overlap_ep: float = 0.0
    interference: float = 1.15
    accumulates: Literal["added", "fused"] | None = None
    gradient_bytes: float = 4.0
    reduce_bytes: float = 4.0
    logits_bytes: float = 4.0
    loss_passes: float = 12.0
    parameter_bytes: float | None = None
    master_weights: bool = True
    fused_optimizer: bool = True
    selective_share: float | None = None
    selective_streams: bool = False
    scatter_every_micro_batch: bool = True
    pipelines_gather_once: bool = False
    scatter_sends: bool = False
    sends_once: bool = False
    rings: bool = False
    bucket_bytes: float | None = None
    step_collectives: float = 0.0
    joins_norms: bool = False
    sequence_parallel: bool = False
    block_scaled: bool = False
    convolution: Literal["product", "kernel"] = "product"
    channels_last: bool = False
    corrected: bool = True
    notes: str = ""


@cache
def stacks() -> tuple[Stack, ...]:
    """Every known stack, in the order of the file."""
    text = resources.files("trainwright.cost").joinpath("data/stacks.toml").read_text(encoding="utf-8")
    return tuple(_from_table(name, table) for name, table in tomllib.loads(text).items())


def stack(name: str) -> Stack:
    """The stack of that name.

    >>> stack("megatron-2021").overlap_dp
    0.0
    """
    for known in stacks():
        if known.name == name:
            return known
    raise unknown_name("stack", name, [known.name for known in stacks()])


def _from_table(name: str, table: dict[str, Any]) -> Stack:
    known = {f.name for f in fields(Stack)}
    odd = sorted(set(table) - known)
    if odd:
        raise InvalidInputError(
            f"stack {name!r} has unknown keys: {', '.join(odd)}", hint=f"known keys: {', '.join(sorted(known))}"
        )
    return Stack(name=name, **table)
