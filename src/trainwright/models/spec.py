"""A model as repeated blocks of ops: what each costs, keeps for backward, and how it splits.

Named families, a Hugging Face config and ``capture`` all make the same ``ModelSpec``; ``cost`` prices it.
Sizes are for one micro-batch of ``batch`` samples of ``seq`` tokens (positions, patches, pixels), and
every method works on floats and NumPy arrays alike.

A spec says what Hugging Face transformers, eager with SDPA attention, really runs and saves in training. Software
that fuses more is told apart by the ops' names, which are the same in every family:

    embedding  segment_embedding  position_embedding  position_add  positions  embedding_scale  embedding_norm
    embedding_dropout  rotary_tables  patches
    attention_norm  qkv  qk_norm  rotary  attention  attention_out  attention_dropout  attention_residual
    q_down  q_norm  q_up  kv_down  kv_norm  kv_up  expand                     (latent attention)
    encoder_norm  decoder_embedding  position_bias  decoder_position_bias
    cross_norm  cross_q  cross_kv  cross_attention  cross_out  cross_residual (encoder-decoder)
    attention_post_norm  mlp_post_norm                                        (norms on both sides)
    mlp_norm  mlp_in  activation  mlp_out  mlp_dropout  mlp_residual
    router  dispatch  experts_in  experts_activation  experts_out  combine
    shared_in  shared_activation  shared_out  shared_gate  shared_scale  shared_add
    transform  transform_activation  final_norm  head  loss

``qkv`` and ``mlp_in`` are one op each even where the model multiplies two or three weights apart; ``n_kernels`` tells
how many. A saved tensor is declared once, by the first op that needs it again: a matmul declares its input unless an
op before it already keeps that storage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainwright.units import Number

Split = Literal["none", "column", "row", "heads", "vocabulary", "expert"]
"""How tensor (or expert) parallelism divides an op.

``column``: outputs (n) divided; ``row``: inputs (k) divided, followed by a reduction; ``heads``: attention
heads divided; ``vocabulary``: rows of the embedding or columns of the head divided; ``expert``: whole
experts divided over ep, and columns over tp; ``none``: replicated over tp, divided over tokens when
sequence parallel.
"""

SavedDtype = Literal["compute", "parameter", "fp32", "int64", "bool"]
"""The dtype of a saved tensor. ``compute``: what matmuls run in. ``parameter``: what the parameters are held in while
the step runs: fp32 under autocast, the compute dtype where FSDP casts the parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How an amount grows: fixed + position * seq + batch * (sample + token * seq + pair * seq^2).

    ``position`` is what a sequence needs once, however many samples are in the batch.

    >>> Size(token=2.0).at(3.0, 10.0)
    60.0
    """

    fixed: float = 0.0
    position: float = 0.0
    sample: float = 0.0
    token: float = 0.0
    pair: float = 0.0

    def at(self, batch: Number, seq: Number) -> Number:
        """The amount for one micro-batch."""
        per_sample = self.sample + self.token * seq + self.pair * seq * seq
        return self.fixed + self.position * seq + batch * per_sample

    def times(self, factor: float) -> Size:
        """Every term multiplied."""
        return Size(
            fixed=self.fixed * factor,
            position=self.position * factor,
            sample=self.sample * factor,
            token=self.token * factor,
            pair=self.pair * factor,
        )


PER_TOKEN = Size(token=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A tensor kept from forward to backward: elements, their dtype, and whether tp divides it."""

    elements: Size
    dtype: SavedDtype = "compute"
    split: Split = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """The abstract op: a name, parameters, saved tensors, and how it divides. Final kinds are below.

    ``n_kernels`` and ``backward_kernels`` are how many kernels eager PyTorch launches forward and backward (in fp32);
    ``n_parameters`` counts weights and biases once, ``trainable`` says whether they get gradients. ``frozen_input`` is
    True where no gradient flows to the input (the first op of a model), so backward is shorter. ``kernel``: its kind
    (KERNELS, PRODUCTS) where a device may have been measured on it; else it is a plain product, or moves bytes.
    """

    name: str
    n_parameters: int = 0
    saved: tuple[Saved, ...] = ()
    split: Split = "none"
    n_kernels: int = 1
    backward_kernels: int = 1
    trainable: bool = True
    frozen_input: bool = False
    kernel: str = ""


KERNELS = (
    "dropout", "bernoulli", "normal", "exp", "tanh", "sigmoid", "silu", "gelu", "pow", "sqrt", "log", "sin", "softplus",
    "gated_silu", "gated_gelu",
    "batch_norm", "layer_norm", "group_norm", "softmax", "safe_softmax", "cross_entropy", "max_pool", "avg_pool",
    "upsample", "upsample_linear", "embedding", "index", "index_select", "gather", "index_add", "scatter_add",
    "cumsum", "sort", "argmax", "prelu", "binary_cross_entropy", "fft",
)  # fmt: skip
"""Kinds of kernels that do more for an element than move it."""

PRODUCTS = (
    "convolution", "strided_convolution", "transposed_convolution", "grouped_convolution", "depthwise_convolution",
    "wide_depthwise_convolution", "wide_depthwise_convolution_last", "lstm",
)  # fmt: skip
"""Kinds of products that are not plain matrix products. Depthwise is wide from 16 positions of its window up; ``last``:
with channels last in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matmul(Op):
    """(rows, k) x (k, n), done ``count`` times side by side; convolutions come here as their matmul.

    With experts, each token goes through ``experts_per_token`` of ``n_experts`` weights. FLOP = 2 rows k n count.
    ``input``: elements of what it multiplies where that is not rows x k, as in a convolution, whose k repeats them;
    ``window``: positions of its window, so that k (n of a transposed one) is that times the channels.
    """

    rows: Size
    n: int
    k: int
    count: int = 1
    n_experts: int = 1
    experts_per_token: int = 1
    is_convolution: bool = False
    input: Size | None = None
    window: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention(Op):
    """softmax(q k^T) v over ``n_heads`` heads. FLOP = 2 * q_len * kv_len * n_heads * (qk_dim + v_dim) a sample.

    ``queries`` and ``keys`` are positions per sample as Size with batch 1 (self-attention: PER_TOKEN both);
    ``window`` limits how far back a query looks; ``causal`` kernels skip half. ``cached``: elements a token that
    decoding keeps, where that is not keys and values.
    """

    n_heads: int
    n_kv_heads: int
    qk_dim: int
    v_dim: int
    queries: Size = PER_TOKEN
    keys: Size = PER_TOKEN
    causal: bool = True
    window: int | None = None
    cached: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointwise(Op):
    """Norms, activations, residual adds, rotary, dropout, pooling: limited by memory, not arithmetic.

    For each of ``elements``: reads and writes in the compute dtype, forward and backward, and how many are
    transcendental (exp, tanh, erf, rsqrt per element). ``upcast``: eager code reads and writes fp32 whatever the
    compute dtype. ``copies``: of its elements that autocast makes besides, from 16 bits to 32 or back, where operands
    meet that are not kept alike.
    """

    elements: Size
    reads: float = 1.0
    writes: float = 1.0
    backward_reads: float = 2.0
    backward_writes: float = 1.0
    transcendental: float = 0.0
    upcast: bool = False
    copies: float = 0.0
    backward_copies: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(Op):
    """An embedding: ``rows`` rows of ``width`` gathered from a table of ``n_entries``."""

    rows: Size
    width: int
    n_entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy(Op):
    """log-softmax and the loss over ``n_classes`` for each of ``rows``."""

    rows: Size
    n_classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Ops done in order, ``repeats`` times in a row; a pipeline may cut between repeats.

    ``boundary`` is what flows to the next block (elements per micro-batch); recomputation keeps only that.
    """

    name: str
    ops: tuple[Op, ...]
    boundary: Size
    repeats: int = 1

    @property
    def n_parameters(self) -> int:
        """Parameters of one repeat."""
        return sum(op.n_parameters for op in self.ops)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A whole model: blocks in order, from the input to the loss.

    ``n_tied_parameters`` are counted in two ops but exist once (a head that shares the embedding).
    ``seq`` is the model's own sequence length, image positions or maximum; ``unit`` names what one sample is. ``peak``:
    the most bytes alive in forward and backward beside parameters and optimizer states, where a trace in fp32 saw it.
    """

    name: str
    family: str
    blocks: tuple[Block, ...]
    source: str
    max_seq: int
    unit: Literal["tokens", "images", "graphs", "samples"] = "tokens"
    n_tied_parameters: int = 0
    unknown_flop_share: float = 0.0
    peak: Size | None = None

    @property
    def n_parameters(self) -> int:
        """Distinct parameters."""
        return sum(block.n_parameters * block.repeats for block in self.blocks) - self.n_tied_parameters

    @property
    def n_blocks(self) -> int:
        """Repeated blocks in all, ends included."""
        return sum(block.repeats for block in self.blocks)
