"""The rules people use on paper, to lay beside ours: the source notes' memory formula, and 6 N D."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.cost.estimate import Estimate
from trainwright.jobs.job import Workload
from trainwright.models.spec import Lookup, ModelSpec

USUAL_RATIO = 1.0
"""The notes' "ratio" is not defined there; 1 stands for gradients as large as what they are gradients of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOfThumb:
    """What the rules say: bytes of one device that holds everything, and FLOP of a step on all devices."""

    memory_bytes: float
    step_flop: float


def rule_of_thumb(model: ModelSpec, workload: Workload, micro_batch: int, dtype_bytes: float) -> RuleOfThumb:
    """params dtype + (embed batch + ratio (params + embed batch)) in the dtype, and 6 parameters tokens.

    The memory rule is from the notes this project started from (facts/README.md says what is wrong with it); 6 N D is
    Kaplan et al., arXiv:2001.08361, section 2.1.

    >>> from trainwright.models.catalogue import model
    >>> rule = rule_of_thumb(model("bert-base"), Workload(global_batch=1, seq=128), 1, 4.0)
    >>> 0.8 < rule.memory_bytes / 1e9 < 0.9  # the notes' table says 33.6
    True
    """
    width = max((op.width for block in model.blocks for op in block.ops if isinstance(op, Lookup)), default=0)
    embedded = float(width * micro_batch * workload.seq)
    held = float(model.n_parameters)
    elements = held + (embedded + USUAL_RATIO * (held + embedded))
    return RuleOfThumb(memory_bytes=elements * dtype_bytes, step_flop=6.0 * held * workload.global_batch * workload.seq)


def differences(rule: RuleOfThumb, estimate: Estimate) -> tuple[str, ...]:
    """Why ours differ, in sentences with numbers."""
    memory = {part: float(value) / 2**30 for part, value in estimate.memory.items()}
    kept = memory["activations"] + memory["logits"] + memory["temporary"]
    flop = float(estimate.model_flop) * float(estimate.n_devices)
    return (
        f"the memory rule knows no optimizer states ({memory['optimizer']:.1f} GiB here), no activations, logits or "
        f"temporaries ({kept:.1f} GiB), and no sharding",
        f"6ND counts {rule.step_flop:.3g} FLOP a step and the ops of the model {flop:.3g} ({flop / rule.step_flop:.2f} "
        "times): it counts embedding rows that are looked up, not multiplied, and no attention",
    )
