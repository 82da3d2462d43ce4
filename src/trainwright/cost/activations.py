"""Bytes that one block keeps from forward to backward, and needs on top while its backward runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trainwright.cost.loops import rounds
from trainwright.cost.memory_rules import MemoryRules
from trainwright.cost.numbers import either
from trainwright.cost.shard import WIDE
from trainwright.hardware.device import DTYPE_BYTES
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import Attention, Block, CrossEntropy, Matmul, Op, Pointwise, Saved, Size
from trainwright.units import Number

_FIXED_BYTES = {"fp32": 4.0, "int64": 8.0, "bool": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """How a strategy and a stack keep tensors: everything that the bytes of a tensor depend on but its shape.

    ``widens``: weights are kept in 4 bits, and each product makes a wide copy of its own.
    """

    strategy: Strategy
    rules: MemoryRules
    seq: float
    widens: bool = False

    @property
    def compute_bytes(self) -> float:
        """Bytes of what matmuls read; fp8 stacks keep activations in 16 bits, fp8 copies aside."""
        return max(DTYPE_BYTES[self.strategy.precision], 2.0)

    @property
    def parameter_bytes(self) -> float:
        """Bytes of a parameter as the ops read it: under autocast as it is kept, else in the compute dtype."""
        own = self.rules.parameter_bytes
        return own if own is not None and self.rules.casts == "autocast" else self.compute_bytes

    @property
    def is_cast(self) -> bool:
        """Whether each matmul casts what it reads, and keeps the copies."""
        return self.rules.casts == "autocast" and self.parameter_bytes > self.compute_bytes

    @property
    def keeps_gathered(self) -> bool:
        """Whether column-divided matmuls keep the sequences they gathered; fused stacks gather them again."""
        return self.rules.keeps_gathered and self.strategy.sequence_parallel

    @property
    def keeps_eight_bits(self) -> bool:
        """Whether matmuls keep what they multiply as they multiply it, in 8 bits."""
        return self.rules.fp8_inputs and self.strategy.precision in ("fp8", "fp4")

    def elements(self, size: Size) -> Number:
        """Elements of one micro-batch on one context-parallel rank."""
        return size.at(self.strategy.micro_batch, self.seq / self.strategy.cp)

    def ways(self, split: str) -> Number:
        """How many ways a tensor is divided."""
        if split == "vocabulary" and not self.rules.divides_loss:
            return 1.0
        divided = split != "none" or self.strategy.sequence_parallel
        return self.strategy.tp if divided else 1.0

    def saved_bytes(self, saved: Saved, *, is_wide: bool = False) -> Number:
        """Bytes of one saved tensor; where ``is_wide``, of what would be in the compute dtype, in the parameters'."""
        if saved.dtype == "compute" and not is_wide:
            each = self.compute_bytes
        elif saved.dtype in ("parameter", "compute"):
            each = self.parameter_bytes
        else:
            each = _FIXED_BYTES[saved.dtype]
        return self.elements(saved.elements) * each / self.ways(saved.split)


def kept_bytes(block: Block, keeper: Keeper) -> Number:
    """Bytes that one repeat of a block keeps for one micro-batch when nothing is recomputed.

    A GPT layer with dropout and flash attention keeps 34 bytes a token and hidden unit in 16 bits, plain attention 5
    more for each query-key pair of a head; tensor parallelism divides what lies inside attention and MLP, sequence
    parallelism the rest too. Source: Korthikanti et al., arXiv:2205.05198, sections 4.1 and 4.2.
    """
    return sum(each_kept_bytes(block, keeper), start=0.0)


def each_kept_bytes(block: Block, keeper: Keeper) -> list[Number]:
    """Bytes that each op of a block keeps: of autocast's group norms the next op gets fp32, and keeps that."""
    each = [op_kept_bytes(op, keeper) for op in block.ops]
    if keeper.rules.wide_norms and keeper.is_cast:
        for index, (norm, op) in enumerate(pairwise(block.ops), start=1):
            if norm.kernel == "group_norm" and isinstance(op, Pointwise):
                each[index] = _wide_bytes(op, block.ops[index + 1 :], keeper)
    return each


def _wide_bytes(op: Pointwise, later: Sequence[Op], keeper: Keeper) -> Number:
    """What an op keeps in fp32; and in 16 bits, where the next product reads the same tensor."""
    product = next((each for each in later if isinstance(each, Matmul)), None)
    narrow, wide = (sum((keeper.saved_bytes(s, is_wide=w) for s in op.saved), start=0.0) for w in (False, True))
    own = sum((keeper.saved_bytes(s) for s in product.saved), start=0.0) if product else narrow
    return wide + either(own < 0.5 * narrow, narrow, 0.0)


def op_kept_bytes(op: Op, keeper: Keeper) -> Number:
    """Bytes that one op keeps for one micro-batch."""
    if op.name in keeper.rules.skipped:
        return 0.0
    is_softmax = op.kernel == "softmax"
    is_wide = keeper.rules.wide_norms and (op.kernel in WIDE or is_softmax)
    total: Number = sum((keeper.saved_bytes(saved, is_wide=is_wide) for saved in kept(op, keeper.rules)), start=0.0)
    if is_wide and is_softmax and keeper.is_cast:  # its copy in 16 bits is what the product after it keeps
        total = total + sum((keeper.saved_bytes(saved) for saved in op.saved), start=0.0)
    if isinstance(op, Matmul) and keeper.keeps_eight_bits and op.split != "vocabulary":
        total = total / keeper.compute_bytes
    if isinstance(op, Matmul) and keeper.keeps_gathered and op.split != "none":
        whole = sum((keeper.saved_bytes(saved) for saved in op.saved if saved.split == "none"), start=0.0)
        total = total + whole * (keeper.strategy.tp - 1.0)
    if isinstance(op, Attention) and keeper.rules.attention == "plain":
        total = total + pair_bytes(op, keeper)
    if isinstance(op, Matmul) and keeper.is_cast:
        total = total + cast_bytes(op, keeper)
    if isinstance(op, Matmul) and keeper.rules.adapter_dropout and op.split != "vocabulary":
        total = total + dropout_bytes(op, keeper) - sum((keeper.saved_bytes(saved) for saved in op.saved), start=0.0)
    if isinstance(op, Matmul) and keeper.rules.input_copies + keeper.rules.result_copies and op.split != "vocabulary":
        total = total + _copies_bytes(op, keeper)
    return total


def op_dropped_bytes(op: Op, keeper: Keeper) -> Number:
    """Bytes that selective recomputation drops of an op: all that it keeps, of attention all but the output."""
    if op.name not in keeper.rules.recomputed:
        return 0.0
    bytes_kept = op_kept_bytes(op, keeper)
    if isinstance(op, Attention):
        own = keeper.elements(op.queries) * op.n_heads * op.v_dim * keeper.compute_bytes / keeper.ways("heads")
        return np.maximum(bytes_kept - own, 0.0)
    return bytes_kept


def dropout_bytes(op: Matmul, keeper: Keeper) -> Number:
    """Bytes of adapters' inputs after dropout and of their masks; the fused q, k and v have one, gate and up one each.

    Source: LitGPT's LoRALinear and LoRAQKVLinear (litgpt/lora.py); torch's native_dropout keeps a mask of bools.
    """
    n_adapters = 1 if op.name == "qkv" else op.n_kernels
    return n_adapters * keeper.elements(op.rows) * op.k * (keeper.compute_bytes + 1.0) / keeper.ways("none")


def _copies_bytes(op: Matmul, keeper: Keeper) -> Number:
    """Bytes of the copies of its input and of its result that a matmul keeps where its software does."""
    rules = keeper.rules
    ways = keeper.ways(op.split)
    copies = rules.input_copies * op.k + rules.result_copies * op.n
    return keeper.elements(op.rows) * copies * keeper.compute_bytes / ways


def kept(op: Op, rules: MemoryRules) -> tuple[Saved, ...]:
    """What an op keeps: all that eager code names, or only a fused kernel's inputs.

    A fused norm keeps its input in the compute dtype; a fused activation its input, two halves where it is gated.
    """
    if rules.saves == "eager" or not isinstance(op, Pointwise) or not op.saved:
        return op.saved
    if op.name.endswith("norm"):
        return (Saved(elements=op.elements, split=op.saved[0].split),)
    if op.name.endswith("activation"):
        inputs = 2.0 if is_gated(op) else 1.0
        return (Saved(elements=op.elements.times(inputs), split=op.saved[0].split),)
    return op.saved


def is_gated(op: Pointwise) -> bool:
    """Whether an activation multiplies two halves (its eager product is one kernel more)."""
    return op.n_kernels % 2 == 0 and op.saved[0].elements.token >= 3.0 * op.elements.token


def pair_bytes(op: Attention, keeper: Keeper) -> Number:
    """Bytes that plain attention keeps for its query-key pairs: probabilities, and dropout's mask and output."""
    strategy = keeper.strategy
    pairs = op.queries.at(1.0, keeper.seq / strategy.cp) * op.keys.at(1.0, keeper.seq)
    return strategy.micro_batch * op.n_heads * pairs * keeper.rules.pair_bytes / strategy.tp


def cast_bytes(op: Matmul, keeper: Keeper) -> Number:
    """Bytes of autocast's copies: the weight, and the input once more for each further weight that reads it."""
    weight = op.n_parameters * keeper.compute_bytes / (keeper.ways(op.split) if op.split != "none" else 1.0)
    again = sum((keeper.saved_bytes(saved) for saved in op.saved), start=0.0) * (op.n_kernels - 1)
    return weight + again


def boundary_bytes(block: Block, keeper: Keeper) -> Number:
    """Bytes of what flows from one block to the next, which full recomputation keeps."""
    return keeper.saved_bytes(Saved(elements=block.boundary, dtype="parameter"))


def results_bytes(block: Block, keeper: Keeper) -> Number:
    """What recomputation stores that keeps results of matmuls (``selective_share`` of them) and attention."""
    total: Number = 0.0
    for op in block.ops:
        if isinstance(op, Matmul) and not op.name.startswith("router"):
            out = keeper.elements(op.rows) * op.n * keeper.compute_bytes
            ways = keeper.ways("none") if op.split in ("row", "none") else keeper.strategy.tp
            total = total + keeper.rules.selective_share * out / ways
        if isinstance(op, Attention):
            each = op.n_heads * (op.v_dim * keeper.compute_bytes + 4.0)
            total = total + keeper.elements(op.queries) * each / keeper.strategy.tp
    return total


def backward_need_bytes(op: Op, keeper: Keeper) -> Number:
    """Bytes that an op's backward allocates at its peak: gradients in and out, and a cast weight's gradient.

    Eager RMSNorm writes its four gradient terms out; a gated activation holds three gradients at once.
    """
    if isinstance(op, Matmul):
        return _matmul_need_bytes(op, keeper)
    if isinstance(op, Attention):
        width = op.n_heads * (op.qk_dim + 2 * op.v_dim) + op.n_kv_heads * (op.qk_dim + op.v_dim)
        pairs = pair_bytes(op, keeper) * 0.8 if keeper.rules.attention == "plain" else 0.0
        return keeper.elements(op.queries) * width * keeper.compute_bytes / keeper.ways("heads") + pairs
    if isinstance(op, Pointwise):
        is_eager_norm = op.upcast and keeper.rules.saves == "eager"
        copies, each = (4.0, 4.0) if is_eager_norm else (2.0, keeper.compute_bytes)
        if op.name.endswith("activation") and op.saved and is_gated(op):
            copies = 3.0
        return keeper.elements(op.elements) * copies * each / keeper.ways(op.split) / rounds(op)
    if isinstance(op, CrossEntropy):
        return _loss_need_bytes(op, keeper)
    return 0.0


def _loss_need_bytes(op: CrossEntropy, keeper: Keeper) -> Number:
    logits = keeper.elements(op.rows) * op.n_classes / keeper.ways(op.split)
    rules = keeper.rules
    if rules.divided_loss_bytes is None or not rules.divides_loss:
        return logits * (rules.loss_bytes - 4.0)
    divided = rules.divided_loss_bytes
    if keeper.is_cast:
        divided += keeper.compute_bytes  # the head's own logits stay beside their fp32 copy until the loss is there
    return logits * (np.where(np.asarray(keeper.strategy.tp) > 1, divided, rules.loss_bytes) - 4.0)


def _matmul_need_bytes(op: Matmul, keeper: Keeper) -> Number:
    outer, inner = (op.k, op.n) if op.split != "row" else (op.n, op.k)
    ways = keeper.ways(op.split)
    inputs, outputs = keeper.elements(op.rows) * outer, keeper.elements(op.rows) * inner
    if op.input is not None:
        inputs, outputs = keeper.elements(op.input), outputs * op.count
    gradients = (outputs / ways + inputs / keeper.ways("none")) * keeper.compute_bytes
    weight = op.n_parameters * keeper.compute_bytes / (ways if op.split != "none" else 1.0)
    return gradients + (weight if keeper.is_cast or keeper.widens else 0.0)
