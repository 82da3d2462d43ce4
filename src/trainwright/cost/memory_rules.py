"""What a software stack keeps in memory: dtypes of the states, what its kernels save, buffers, allocator."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from trainwright.errors import unknown_name
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRules:
    """The memory side of a stack. Bytes are per element unless named otherwise.

    States: parameters are kept in ``parameter_bytes`` (None: the compute dtype), gradients in ``gradient_bytes``
    (None: as the parameters), a copy in fp32 beside low-precision parameters when ``master_weights``, and optimizer
    moments in ``moment_bytes``. ``casts``: who makes low-precision copies of fp32 parameters: nobody (they are kept in
    it), autocast inside each matmul (which keeps them for backward), or the gather of sharded parameters.

    Activations: ``saves`` "eager" keeps what each op of the model names, "fused" what fused kernels keep instead.
    ``attention`` "plain" adds ``pair_bytes`` for each query-key pair of each head. ``skipped``: ops, by name, that keep
    nothing. ``selective`` recomputation drops the pairs ("pairs"), or keeps ``selective_share`` of the matmuls' results
    and attention's ("results"), or drops what the ops in ``recomputed`` keep ("ops"; attention its inputs only).

    ``keeps_gathered``: with sequence parallelism, column-divided matmuls keep the sequences they gathered.

    ``input_copies`` and ``result_copies``: how often matmuls keep their input or result once more (4-bit products,
    adapters that scale results); ``adapter_dropout``: each adapter keeps its dropped-out input, and a mask of a byte,
    in place of the input. ``fp8_inputs``: in fp8 and fp4, matmuls keep their inputs in 8 bits (Transformer
    Engine). ``wide_norms``: layer and group norms keep their input in fp32 (autocast widens it), and a softmax its
    result, beside the 16-bit copy that the product after it reads; what follows a group norm keeps fp32 too.

    Loss: ``loss_bytes`` per logit alive in the backward of log-softmax, what it kept included (``divided_loss_bytes``
    where tp divides the vocabulary); ``held_logit_bytes`` of it all through backward. ``divides_loss``: whether tp
    divides the logits at all.

    Pipeline: on top of its blocks' tensors a stage keeps ``stage_buffers`` boundaries for each micro-batch in flight.
    Schedules other than 1F1B keep ``in_flight_scale`` times as many and ``in_flight_more`` on top; with
    ``even_in_flight`` every stage as many as the first. ``spread_ends``: embedding and head are divided over all.

    Gathers: with ZeRO 3, ``gathered_blocks`` blocks of whole parameters are alive at once, and ``scattered_blocks`` of
    whole gradients, in ``reduce_bytes``. ``bucket_share``: gradient buckets beside the gradients, as a share of them;
    ``join_bytes``: one bucket that gradients are joined in after backward.
    ``keeps_whole``: what is gathered stays so through the step, and gradients that accumulate do so unsharded.
    ``fresh_gradients``: gradients appear in backward and go after the update; else buffers for them always exist.

    Optimizer: ``optimizer_temporary`` copies of one fp32 state live during the update: of all of them ("all",
    foreach; "twice all" before torch 2.1, the root and the divisor), or of the largest parameter ("largest", a loop),
    or none (fused).

    Outside torch's allocator: ``context_bytes`` (CUDA context and libraries), ``communicator_bytes`` for each process
    group; inside: ``workspace_bytes`` (cuBLAS and the like). ``reserved_factor``: reserved over allocated;
    ``resident_factor``: on a CPU, growth of the resident set over allocated.
    """

    parameter_bytes: float | None = None
    gradient_bytes: float | None = None
    moment_bytes: float = 4.0
    master_weights: bool = True
    casts: Literal["none", "autocast", "gathered"] = "none"
    saves: Literal["eager", "fused"] = "fused"
    attention: Literal["flash", "plain"] = "flash"
    pair_bytes: float = 5.0
    selective: Literal["pairs", "results", "ops"] = "pairs"
    selective_share: float = 0.5
    recomputed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    loss_bytes: float = 12.0
    divided_loss_bytes: float | None = None
    held_logit_bytes: float = 0.0
    divides_loss: bool = True
    input_copies: float = 0.0
    result_copies: float = 0.0
    adapter_dropout: bool = False
    fp8_inputs: bool = False
    wide_norms: bool = False
    stage_buffers: float = 0.0
    in_flight_scale: float = 1.0
    in_flight_more: float = 0.0
    even_in_flight: bool = False
    spread_ends: bool = False
    keeps_whole: bool = False
    keeps_gathered: bool = False
    gathered_blocks: float = 2.0
    scattered_blocks: float = 1.0
    reduce_bytes: float = 4.0
    bucket_share: float = 0.0
    join_bytes: float = 0.0
    fresh_gradients: bool = False
    optimizer_temporary: Literal["none", "largest", "all", "twice all"] = "none"
    workspace_bytes: float = 0.0
    context_bytes: float = 0.0
    communicator_bytes: float = 0.0
    reserved_factor: float = 1.0
    resident_factor: float = 1.0
    source: str = ""


@cache
def memory_rules(stack: str) -> MemoryRules:
    """The rules of a stack, by its name in cost/data/memory.toml, where ``like`` starts from another's.

    >>> memory_rules("trainwright").casts
    'autocast'
    """
    text = resources.files("trainwright.cost").joinpath("data/memory.toml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, Any]] = tomllib.loads(text)
    if stack not in tables:
        raise unknown_name("stack", stack, tables)
    table = dict(tables[stack])
    while "like" in table:
        table = {**tables[table.pop("like")], **table}
    return MemoryRules(**table)


def reserved_bytes(allocated_bytes: Number, rules: MemoryRules) -> Number:
    """What the caching allocator holds for this much allocated: whole segments, and gaps between live tensors.

    >>> reserved_bytes(10e9, MemoryRules(reserved_factor=1.1))
    11000000000.0
    """
    return allocated_bytes * rules.reserved_factor


def occupied_bytes(allocated_bytes: Number, n_communicators: Number, rules: MemoryRules) -> Number:
    """What the device has lost as nvidia-smi shows it: reserved, the context, and each communicator's buffers.

    >>> occupied_bytes(10e9, 2, MemoryRules(reserved_factor=1.1, context_bytes=5e8, communicator_bytes=2e8))
    11900000000.0
    """
    outside = rules.context_bytes + n_communicators * rules.communicator_bytes
    return reserved_bytes(allocated_bytes, rules) + outside


def resident_bytes(allocated_bytes: Number, imports_bytes: Number, rules: MemoryRules) -> Number:
    """The most a CPU process is resident: its imports, and the heap, which fragments and holds what was freed.

    >>> resident_bytes(100e6, 380e6, MemoryRules(resident_factor=1.5))
    530000000.0
    """
    return imports_bytes + allocated_bytes * rules.resident_factor
