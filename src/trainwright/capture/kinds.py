"""Which kind of kernel an ATen op runs (``Op.kernel`` of models/spec.py), and how many elements it works on."""

from __future__ import annotations

from math import prod

from trainwright.capture.trace import OpRecord

_KINDS = {
    "bernoulli": ("bernoulli",),
    "dropout": ("bernoulli_", "native_dropout", "rand", "rand_like", "uniform_"),
    "normal": ("randn", "randn_like", "normal_"),
    "exp": ("exp", "exp_"),
    "tanh": ("tanh", "tanh_", "erf"),
    "sigmoid": ("sigmoid", "sigmoid_", "hardswish", "hardsigmoid", "elu", "elu_", "selu"),
    "silu": ("silu", "silu_"),
    "gelu": ("gelu",),
    "sqrt": ("sqrt", "rsqrt"),
    "log": ("log", "log2", "log1p", "log_sigmoid_forward"),
    "sin": ("sin", "cos"),
    "softplus": ("softplus", "binary_cross_entropy_with_logits", "logsumexp", "mish"),
    "batch_norm": ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional",
                   "_batch_norm_with_update"),
    "layer_norm": ("native_layer_norm", "_fused_rms_norm"),
    "group_norm": ("native_group_norm",),
    "softmax": ("_softmax", "_log_softmax"),
    "safe_softmax": ("_safe_softmax",),
    "max_pool": ("max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool1d_with_indices",
                 "adaptive_max_pool2d"),
    "avg_pool": ("avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
    "upsample": ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d"),
    "upsample_linear": ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
                        "_upsample_bilinear2d_aa", "grid_sampler_2d"),
    "index": ("index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"),
    "index_select": ("index_select",),
    "gather": ("gather",),
    "index_add": ("index_add", "index_add_", "index_reduce", "index_copy"),
    "scatter_add": ("scatter_add", "scatter_add_", "scatter_reduce", "scatter", "scatter_", "scatter_reduce_"),
    "cumsum": ("cumsum", "cumprod", "logcumsumexp", "cummax"),
    "sort": ("sort", "topk", "argsort"),
    "argmax": ("argmax", "argmin", "max", "min"),
    "prelu": ("_prelu_kernel",),
    "binary_cross_entropy": ("binary_cross_entropy",),
    "fft": ("_fft_r2c", "_fft_c2c", "_fft_c2r"),
}  # fmt: skip
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}
_GATHERED = ("index", "index_select", "gather")
_SCATTERED = ("index_add", "scatter_add")
WIDE_WINDOW = 16
"""Positions from which on a depthwise convolution runs other kernels."""


def kind_of(op: OpRecord) -> str:
    """The kind of kernel; empty where it is a plain product or only moves bytes."""
    if op.name == "convolution":
        return _convolution(op)
    if op.name == "mkldnn_rnn_layer":
        return "lstm"
    if op.name == "pow":
        return "" if op.detail == (2.0,) else "pow"
    return _KIND_OF.get(op.name, "")


def _convolution(op: OpRecord) -> str:
    transposed, groups, last, strided = op.detail
    weight = op.shapes[1]
    if groups == 1 and transposed:
        return "transposed_convolution"
    if groups == 1:
        return "strided_convolution" if strided else "convolution"
    if weight[0] != groups or weight[1] != 1:
        return "grouped_convolution"
    if prod(weight[2:]) < WIDE_WINDOW:
        return "depthwise_convolution"
    return "wide_depthwise_convolution_last" if last else "wide_depthwise_convolution"


def elements_of(op: OpRecord, kind: str) -> int:
    """Elements that its kernel works on: what is gathered or scattered, else its largest tensor."""
    if kind in _GATHERED:
        return prod(op.out_shape)
    if kind in _SCATTERED and len(op.shapes) > 2:
        return prod(op.shapes[2])
    return op.n_elements
