"""Convolutional networks of published tables: residual networks block by block, U-Nets by their FLOP and parameters."""

from __future__ import annotations

from functools import cache

from trainwright.models.spec import Block, CrossEntropy, Matmul, ModelSpec, Op, Pointwise, Saved, Size

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Bottleneck blocks of each stage (He et al., arXiv:1512.03385, table 1)."""

UNETS: dict[str, tuple[float, float]] = {
    "stable-diffusion": (0.80e12, 0.87e9),
    "imagen-2b": (2.6e12, 2.0e9),
    "imagen-600m": (1.1e12, 0.6e9),
    "u-net": (0.4e12, 0.1e9),
    "amoebanet": (0.21e12, 0.56e9),
}
"""Forward FLOP of a sample, and parameters. Sources: Rombach et al., arXiv:2112.10752 and the
MLPerf reference (512 x 512 images, 64 x 64 latents); Saharia et al., arXiv:2205.11487; Kim et al., arXiv:2004.09910."""


def _convolution(name: str, side: int, k: int, n: int, frozen: bool = False) -> tuple[Op, ...]:
    """A convolution as its matmul, and the norm and activation after it (two kernels forward, three backward)."""
    rows = Size(sample=float(side * side))
    out = Size(sample=float(side * side * n))
    product = Matmul(
        name=name,
        rows=rows,
        k=k,
        n=n,
        n_parameters=k * n,
        is_convolution=True,
        backward_kernels=2,
        frozen_input=frozen,
        saved=(Saved(elements=out),),
    )
    after = Pointwise(
        name=f"{name}_norm",
        elements=out,
        n_parameters=2 * n,
        n_kernels=2,
        backward_kernels=2,
        reads=2.0,
        writes=1.0,
        backward_reads=3.0,
        backward_writes=1.0,
        saved=(Saved(elements=out),),
    )
    return product, after


@cache
def residual_network(depth: int, side: int = 224) -> ModelSpec:
    """ResNet by depth, for images of ``side`` pixels and 1000 classes.

    >>> round(residual_network(50).n_parameters / 1e6, 1)
    25.6
    """
    blocks = [Block(name="stem", ops=_convolution("stem", side // 2, 147, 64, frozen=True), boundary=Size())]
    width, channels, here = 64, 64, side // 4
    for stage, repeats in enumerate(DEPTHS[depth]):
        for repeat in range(repeats):
            ops = (
                *_convolution("reduce", here, channels, width),
                *_convolution("spatial", here, 9 * width, width),
                *_convolution("expand", here, width, 4 * width),
            )
            if repeat == 0:
                ops = (*ops, *_convolution("shortcut", here, channels, 4 * width))
            channels = 4 * width
            blocks.append(Block(name=f"stage{stage}", ops=ops, boundary=Size(sample=float(here * here * channels))))
        width, here = 2 * width, here // 2
    head = Matmul(name="head", rows=Size(sample=1.0), k=channels, n=1000, n_parameters=1000 * channels + 1000)
    loss = CrossEntropy(name="loss", rows=Size(sample=1.0), n_classes=1000)
    blocks.append(Block(name="head", ops=(head, loss), boundary=Size()))
    return ModelSpec(
        name=f"resnet-{depth}",
        family="resnet",
        blocks=tuple(blocks),
        source="He et al., arXiv:1512.03385",
        max_seq=1,
        unit="images",
    )


@cache
def unet(name: str) -> ModelSpec:
    """A U-Net as 24 equal convolutions with its forward FLOP and parameters."""
    flop, n_parameters = UNETS[name]
    k = n = round((n_parameters / 24) ** 0.5)
    rows = round((flop / (2.0 * 24 * k * n)) ** 0.5)
    ops = _convolution("convolution", max(rows, 1), k, n)
    loss = CrossEntropy(name="loss", rows=Size(sample=1.0), n_classes=4)
    return ModelSpec(
        name=name,
        family="unet",
        blocks=(
            Block(name="layer", ops=ops, boundary=Size(sample=float(rows * rows * n)), repeats=24),
            Block(name="head", ops=(loss,), boundary=Size()),
        ),
        source="forward FLOP and parameters as published (cost/published/convolution.py)",
        max_seq=1,
        unit="images",
    )
