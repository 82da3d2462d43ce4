"""Efficiency constants: own, a relative's, or the kind's, and always saying which."""

import pytest

from trainwright.hardware.catalogue import device, devices
from trainwright.hardware.efficiency import efficiency_of


def test_a_measured_device_has_its_own_constants() -> None:
    assert "not measured" not in device("A100-SXM-80GB").efficiency.source


def test_a_relative_stands_in_and_says_so() -> None:
    assert "taken from its relative H100-SXM" in device("H800-SXM").efficiency.source
    made, _ = efficiency_of("Nobody-1", "Unheard-of", "tpu", ["bf16"])
    assert "nor on any Unheard-of; taken from TPU-v5p" in made.source


def test_a_dtype_without_a_curve_takes_the_nearest() -> None:
    made, _ = efficiency_of("A100-SXM-80GB", "Ampere-GA100", "gpu", ["fp64"])
    assert "taken from fp32" in made.matmul["fp64"].source


def test_an_unknown_kind_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="no constants for the kind 'abacus'"):
        efficiency_of("Nobody-1", "Unheard-of", "abacus", ["bf16"])


def test_every_device_launches_a_kernel_in_some_time() -> None:
    assert all(1e-7 < known.launch_s < 1e-3 for known in devices())
