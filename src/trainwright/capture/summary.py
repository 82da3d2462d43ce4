"""What a capture found, as plain values to print: blocks, the costliest ops, memory, what was guessed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from trainwright.capture.autocast import Autocast
from trainwright.capture.inputs import example_of
from trainwright.capture.module import Captured
from trainwright.capture.plan import tensor_plan
from trainwright.capture.step import Example, trace_inference, trace_step
from trainwright.capture.trace import Trace
from trainwright.models.flop import backward_flop, forward_flop, op_forward_flop
from trainwright.models.saved import FP32, op_saved_bytes
from trainwright.models.spec import Block

LARGEST = 8
"""How many of the costliest ops are shown."""


def summary_of(found: Captured, *, lowers: bool = False, infers: bool = False) -> dict[str, Any]:
    """Everything `trainwright capture` tells, at the batch and sequence that were asked for.

    ``lowers``: what is kept and alive is that of a step under autocast to bf16; blocks are told in fp32. ``infers``: a
    forward without gradients too.
    """
    spec, batch, seq = found.spec, found.setup.batch, found.setup.seq or 1
    trace = whole_trace(found, lowers)
    peak = trace.ops[trace.peak_op] if trace.ops else None
    return {
        "name": spec.name,
        "family": spec.family,
        "source": spec.source,
        "batch": batch,
        "seq": found.setup.seq,
        "unit": spec.unit,
        "parameters": spec.n_parameters,
        "forward_flop": forward_flop(spec, batch, seq),
        "backward_flop": backward_flop(spec, batch, seq),
        "saved_bytes": trace.saved_bytes,
        "state_bytes": trace.state_bytes,
        "peak_bytes": trace.peak_bytes,
        "peak_at": f"{peak.phase}, {peak.module or 'the module'}: {peak.name}" if peak else "",
        "n_ops": sum(1 for op in trace.ops if not op.is_view),
        "precision": "bf16" if lowers else "fp32",
        "inference": _inference(found, lowers) if infers else None,
        "blocks": [_block(block, batch, seq) for block in spec.blocks],
        "largest": _largest(spec.blocks, batch, seq),
        "n_cuts": spec.n_blocks - 1,
        "tensor_plan": tensor_plan(found.module),
        "unknown_flop_share": spec.unknown_flop_share,
        "unknown": [asdict(each) for each in trace.unknown],
        "guesses": [asdict(each) for each in trace.guesses],
        "notes": list(found.notes),
    }


def whole_trace(found: Captured, lowers: bool = False) -> Trace:
    """The trace at the reference point with every layer in it."""
    if not found.is_shortened and not lowers:
        return found.trace
    with _lowering(lowers):
        return trace_step(found.module, _example(found), kernels=found.setup.kernels)


def _example(found: Captured) -> Example:
    return example_of(found.setup.inputs, found.setup.batch, found.setup.seq or 1)


def _lowering(lowers: bool) -> AbstractContextManager[Any]:
    return Autocast(torch.bfloat16) if lowers else nullcontext()


def _inference(found: Captured, lowers: bool) -> dict[str, float] | None:
    """A forward without gradients; None for a module that has nothing but training steps."""
    if type(found.module).forward is nn.Module.forward:
        return None
    with _lowering(lowers):
        trace = trace_inference(found.module, _example(found), kernels=found.setup.kernels)
    done = [op for op in trace.ops if not op.is_view]
    return {
        "flop": trace.flop("forward"),
        "n_ops": len(done),
        "moved_bytes": sum(op.read_bytes + op.written_bytes for op in done),
        "beside_bytes": trace.peak_bytes - trace.state_bytes,
    }


def _block(block: Block, batch: int, seq: int) -> dict[str, Any]:
    return {
        "name": block.name,
        "repeats": block.repeats,
        "parameters": block.n_parameters * block.repeats,
        "forward_flop": sum(op_forward_flop(op, batch, seq) for op in block.ops) * block.repeats,
        "saved_bytes": sum(op_saved_bytes(op, batch, seq, FP32) for op in block.ops) * block.repeats,
        "boundary_bytes": float(block.boundary.at(batch, seq)) * 4,
        "n_ops": len(block.ops),
        "n_kernels": sum(op.n_kernels for op in block.ops) * block.repeats,
    }


def _largest(blocks: tuple[Block, ...], batch: int, seq: int) -> list[dict[str, Any]]:
    found = [
        {
            "op": op.name,
            "kind": type(op).__name__,
            "block": block.name,
            "times": block.repeats,
            "forward_flop": op_forward_flop(op, batch, seq) * block.repeats,
            "split": op.split,
        }
        for block in blocks
        for op in block.ops
    ]
    return sorted(found, key=lambda each: -float(each["forward_flop"]))[:LARGEST]
