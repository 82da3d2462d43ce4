"""What a convolution costs on a GPU beside the matrix product it stands for."""

from __future__ import annotations

from typing import Any

from trainwright.cost.convolution import Operands, Passes, passes
from trainwright.cost.matmul import Product, matmul_s
from trainwright.hardware import catalogue
from trainwright.models.spec import Matmul, Size

A100 = catalogue.device("A100-SXM-80GB")
PASCAL = catalogue.device("GTX-1080-Ti")
PIXELS = 256.0 * 56 * 56


def priced(
    k: int, n: int, count: int = 1, device: Any = A100, is_convolution: bool = True, last: bool = True
) -> Passes:
    op = Matmul(
        name="c",
        rows=Size(sample=1.0),
        k=k,
        n=n,
        count=count,
        n_parameters=k * n * count,
        is_convolution=is_convolution,
    )
    inputs = PIXELS * (k // 9) * count
    of = Operands(dtype="fp16", inputs=inputs, channels_last=last)
    return passes(op, Product(m=PIXELS, n=float(n), k=float(k), count=float(count)), of, device)


def test_a_window_is_read_once() -> None:
    convolution, product = priced(9 * 64, 64), priced(9 * 64, 64, is_convolution=False)
    assert convolution.forward_s < product.forward_s


def test_layouts_that_tensor_cores_do_not_want_cost_a_turn_each_way() -> None:
    turned, straight = priced(9 * 64, 64, last=False), priced(9 * 64, 64)
    moved = 2 * 2.0 * PIXELS * (64 + 64)
    assert turned.forward_s - straight.forward_s >= moved / A100.memory_bytes_per_s


def test_depthwise_is_a_stream() -> None:
    depthwise = priced(9, 1, count=64)
    assert depthwise.forward_s == depthwise.weight_gradient_s >= 2.0 * 2 * PIXELS * 64 / A100.memory_bytes_per_s


def test_a_long_thin_gradient_fills_the_device() -> None:
    long = Product(m=PIXELS, n=64.0, k=64.0)
    found = priced(64, 64, is_convolution=False)
    assert found.weight_gradient_s < 0.2 * matmul_s(long.weight_gradient, "fp16", A100)


def test_pascal_multiplies_16_bits_in_fp32() -> None:
    slow = 2.0 * PIXELS * 9 * 64 * 64 / PASCAL.flop_per_s["fp16"]
    assert priced(9 * 64, 64, device=PASCAL).forward_s < 0.2 * slow
