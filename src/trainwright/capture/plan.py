"""Which ops tensor parallelism divides: known where the module carries a ``tp_plan``, as Hugging Face models do."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn

from trainwright.capture.entries import ATTENTION, PRODUCTS
from trainwright.capture.trace import OpRecord, Trace
from trainwright.models.spec import Split

_SPLITS: Mapping[str, Split] = {
    "colwise": "column",
    "packed_colwise": "column",
    "rowwise": "row",
    "embedding_rowwise": "vocabulary",
    "colwise_gather_output": "vocabulary",
    "colwise_rep": "vocabulary",
}
"""transformers' names of styles, and how a spec calls them."""


def tensor_plan(module: nn.Module) -> dict[str, str]:
    """Module name patterns (``*`` for a number) to styles; empty where the module has no plan."""
    plan = getattr(module, "tp_plan", None) or getattr(module, "_tp_plan", None) or {}
    return {str(key): str(style) for key, style in dict(plan).items()}


def tensor_splits(module: nn.Module, trace: Trace) -> dict[int, Split]:
    """Split of each forward op: by plan where it has one, ``column`` where it works on what a column split made.

    Between a column-split and a row-split product every tensor is divided; attention there is divided by heads. What
    follows the head is divided over the vocabulary.
    """
    plan = tensor_plan(module)
    if not plan:
        return {}
    found: dict[int, Split] = {}
    divided: dict[int, Split] = {}
    for op in trace.ops:
        if op.phase != "forward":
            continue
        split = _split_of(op, plan, divided)
        if split != "none":
            found[op.index] = split
        if split in ("column", "heads", "vocabulary") and op.name != "embedding":
            divided.update(dict.fromkeys(op.outputs, "vocabulary" if split == "vocabulary" else "column"))
    return found


def _split_of(op: OpRecord, plan: Mapping[str, str], divided: Mapping[int, Split]) -> Split:
    planned = _SPLITS.get(plan.get(re.sub(r"\.\d+(?=\.|$)", ".*", op.module), ""), "none")
    if op.name in PRODUCTS or op.name == "embedding":
        return planned
    inherited = [divided[storage] for storage in op.inputs if storage in divided]
    if not inherited:
        return "none"
    return "heads" if op.name in ATTENTION else inherited[0]
