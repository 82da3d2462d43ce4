"""Look devices and links up, filter and compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainwright.errors import InvalidInputError
from trainwright.records.store import write_text

if TYPE_CHECKING:
    from trainwright.hardware.link import Link
    from trainwright.hardware.metrics import Metrics
    from trainwright.models.spec import ModelSpec

MOST_ON_A_PAGE = 8


def hardware(
    names: Sequence[str],
    asked: Mapping[str, str | int],
    *,
    want_links: bool = False,
    prices: Path | None = None,
    page: Path | None = None,
) -> tuple[tuple[Metrics, ...], tuple[Link, ...]]:
    """Devices that pass the filters of ``asked`` (vendor, kind, dtype, memory, year, price), and links.

    ``names`` may hold both; none of either is all devices, or all links. ``page`` is where to draw the devices.
    """
    from trainwright.hardware import catalogue
    from trainwright.hardware.metrics import parse_filter, select
    from trainwright.hardware.prices import read_prices

    links = tuple(link for name in names if (link := catalogue.find_link(name)) is not None)
    devices = [name for name in names if catalogue.find_link(name) is None]
    if want_links or (links and not devices):
        return (), links or catalogue.links()
    found = select(devices, parse_filter(asked), read_prices(prices) if prices else ())
    if page is not None:
        from trainwright.report.hardware_html import hardware_html

        if len(found) > MOST_ON_A_PAGE:
            raise InvalidInputError(
                f"{len(found)} devices are too many for one page", hint=f"name at most {MOST_ON_A_PAGE}"
            )
        write_text(page, hardware_html(found))
    return found, links


def models(name: str | None = None) -> tuple[ModelSpec, ...]:
    """The preset of that name, or the model of a Hugging Face config at that path; without a name, all presets."""
    from trainwright.models import catalogue
    from trainwright.models.huggingface import spec_from_config

    if name is None:
        return tuple(catalogue.model(preset) for preset in catalogue.presets())
    if name not in catalogue.presets() and Path(name).exists():
        return (spec_from_config(Path(name)),)
    return (catalogue.model(name),)
