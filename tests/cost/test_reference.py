"""The reference step of the hardware comparison."""

import dataclasses

from trainwright.cost.reference import reference_precision, reference_step, reference_tokens_per_s
from trainwright.hardware.catalogue import device


def test_precision_is_the_fastest_one_trains_in() -> None:
    names = ("H100-SXM", "V100-SXM2-16GB", "GTX-1080-Ti")
    assert [reference_precision(device(name)) for name in names] == ["bf16", "fp16", "fp32"]


def test_it_is_one_step_of_4096_tokens() -> None:
    step = reference_step(device("A100-SXM-80GB"))
    assert step.tokens_per_step == 4096
    assert 6 * 355e6 * 4096 / step.step_s < 312e12


def test_a_device_too_small_has_no_throughput() -> None:
    step = reference_step(device("A100-SXM-80GB"))
    small = dataclasses.replace(device("A100-SXM-80GB"), memory_bytes=step.peak_bytes - 1.0)
    assert reference_tokens_per_s(small) is None
