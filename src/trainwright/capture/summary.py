"""What a capture found, as plain values to print: blocks, the costliest ops, memory, what was guessed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trainwright.capture.inputs import example_of
from trainwright.capture.module import Captured
from trainwright.capture.plan import tensor_plan
from trainwright.capture.step import trace_step
from trainwright.capture.trace import Trace
from trainwright.models.flop import backward_flop, forward_flop, op_forward_flop
from trainwright.models.saved import FP32, op_saved_bytes
from trainwright.models.spec import Block

LARGEST = 8
"""How many of the costliest ops are shown."""


def summary_of(found: Captured) -> dict[str, Any]:
    """Everything `trainwright capture` tells, at the batch and sequence that were asked for; fp32."""
    spec, batch, seq = found.spec, found.setup.batch, found.setup.seq or 1
    trace = whole_trace(found)
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
        "blocks": [_block(block, batch, seq) for block in spec.blocks],
        "largest": _largest(spec.blocks, batch, seq),
        "n_cuts": spec.n_blocks - 1,
        "tensor_plan": tensor_plan(found.module),
        "unknown_flop_share": spec.unknown_flop_share,
        "unknown": [asdict(each) for each in trace.unknown],
        "guesses": [asdict(each) for each in trace.guesses],
        "notes": list(found.notes),
    }


def whole_trace(found: Captured) -> Trace:
    """The trace at the reference point with every layer in it."""
    if not found.is_shortened:
        return found.trace
    example = example_of(found.setup.inputs, found.setup.batch, found.setup.seq or 1)
    return trace_step(found.module, example, kernels=found.setup.kernels)


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
