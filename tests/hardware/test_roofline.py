"""The roofline: memory's slope, compute's ceiling."""

import pytest

from trainwright.hardware.catalogue import device, devices
from trainwright.hardware.roofline import roofline, training_dtype


def test_the_two_limits_meet_at_the_ridge() -> None:
    roof = roofline(device("A100-SXM-80GB"))
    assert roof.dtype == "bf16"
    assert roof.ridge_flop_per_byte == pytest.approx(153, abs=0.5)
    assert roof.at(roof.ridge_flop_per_byte / 2) == pytest.approx(roof.flop_per_s / 2)
    assert roof.at(1e6) == roof.flop_per_s


def test_a_dtype_of_ones_own() -> None:
    assert roofline(device("H100-SXM"), "fp8").flop_per_s == 1979e12


def test_every_device_has_a_training_dtype() -> None:
    assert {training_dtype(known) for known in devices()} == {"bf16", "fp16", "fp32"}
