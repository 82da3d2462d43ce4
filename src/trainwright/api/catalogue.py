"""Look devices and links up, filter and compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.files import write_text

if TYPE_CHECKING:
    from trainwright.hardware.link import Link
    from trainwright.hardware.machine import MachineProfile
    from trainwright.hardware.metrics import Metrics
    from trainwright.hardware.promise import Comparison
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


def compare_machines(names: Sequence[str]) -> tuple[Comparison, ...]:
    """Stored machines beside what their datasheets, or they themselves, promise; all of them when none is named."""
    from trainwright.hardware.machine import machines, machines_folder
    from trainwright.hardware.promise import compare_machine
    from trainwright.hardware.stored import stored_machine

    known = machines(machines_folder()) if machines_folder().is_dir() else ()
    if not known:
        raise InvalidInputError("no machine was measured yet", hint="`trainwright probe --name desk` measures this one")
    found = {name: stored_machine(name) for name in names}
    for name, profile in found.items():
        if profile is None:
            raise unknown_name("measured machine", name, [one.name for one in known])
    chosen = [profile for profile in found.values() if profile is not None] if names else known
    return tuple(compare_machine(_with_facts(profile)) for profile in chosen)


def _with_facts(profile: MachineProfile) -> MachineProfile:
    """A profile of this machine from before the probe asked it about itself, with what it says now."""
    from trainwright.probe.facts import cpu_facts, gpu_facts
    from trainwright.probe.identity import identity

    if profile.facts or profile.fingerprint != identity().fingerprint:
        return profile
    return replace(profile, facts=cpu_facts() | gpu_facts())


def models(name: str | None = None) -> tuple[ModelSpec, ...]:
    """The preset of that name, or the model of a Hugging Face config at that path; without a name, all presets."""
    from trainwright.models import catalogue
    from trainwright.models.huggingface import spec_from_config

    if name is None:
        return tuple(catalogue.model(preset) for preset in catalogue.presets())
    if name not in catalogue.presets() and Path(name).exists():
        return (spec_from_config(Path(name)),)
    return (catalogue.model(name),)
