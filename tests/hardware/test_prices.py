"""Prices: dated, by provider, and overridden by a file."""

from pathlib import Path

import pytest

from trainwright.errors import InvalidInputError
from trainwright.hardware import catalogue, prices
from trainwright.hardware.parse import parse_cluster


def test_every_quote_holds_together() -> None:
    names = {device.name for device in catalogue.devices()}
    for quote in prices.prices():
        assert quote.device in names
        assert 0.05 < quote.dollars_per_device_hour < 15
        assert quote.kind in prices.KINDS
        assert quote.source
        assert quote.year >= 2022 or quote.date == "undated"
    for bought in prices.purchases():
        assert bought.device in names
        assert 100 < bought.dollars < 100_000
        assert bought.date


def test_one_quote_for_each_device_provider_and_kind() -> None:
    keys = [(quote.device, quote.provider, quote.kind) for quote in prices.prices()]
    assert len(keys) == len(set(keys))


def test_the_usual_price_is_the_middle_of_the_recent_ones() -> None:
    recent = [q.dollars_per_device_hour for q in prices.quotes("H100-SXM") if q.year >= 2025]
    usual = prices.price("H100-SXM")
    assert usual is not None
    cheaper = sum(value < usual.dollars_per_device_hour for value in recent)
    dearer = sum(value > usual.dollars_per_device_hour for value in recent)
    assert abs(cheaper - dearer) <= 1


def test_a_provider_and_a_kind() -> None:
    aws = prices.price("H100-SXM", "aws")
    assert aws is not None
    assert (aws.dollars_per_device_hour, aws.date) == (6.88, "2025-06")
    spot = prices.price("H100-SXM", kind="spot")
    assert spot is not None
    assert spot.dollars_per_device_hour < aws.dollars_per_device_hour
    assert prices.price("Rubin") is None
    with pytest.raises(InvalidInputError, match="unknown provider 'AWD'"):
        prices.price("H100-SXM", "AWD")
    with pytest.raises(InvalidInputError, match="unknown kind of price 'cheap'"):
        prices.price("H100-SXM", kind="cheap")


def test_the_users_file_goes_first(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('[[price]]\ndevice = "NVIDIA H100 80GB HBM3"\ndollars_per_device_hour = 2\n')
    own = prices.read_prices(path)
    (group,) = parse_cluster("8xH100-SXM", own_prices=own).groups
    assert group.dollars_per_device_hour == 2.0
    assert group.price_source == "yours, on-demand, undated"
    (group,) = parse_cluster("8xH100-SXM").groups
    assert group.dollars_per_device_hour != 2.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"has no \[\[price\]\]"),
        ('[[price]]\ndevice = "H100-SXM"\ncost = 2', "unknown key in"),
        ('[[price]]\ndevice = "H100-SXM"\ndollars_per_device_hour = "two"', "a price needs a device and"),
        ("[[price]]\ndollars_per_device_hour = 2", "a price needs a device and"),
        ('[[price]]\ndevice = "H100"\ndollars_per_device_hour = 2', "'H100' is not one device"),
    ],
)
def test_refusals(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=says):
        prices.read_prices(path)
