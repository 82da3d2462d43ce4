"""The library in one place: what the command line calls, and what Python users import.

Heavy rooms are imported where they are used, so that ``import trainwright.api`` stays light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainwright.errors import InvalidInputError
from trainwright.records.plan import PlanRecord, read_plan
from trainwright.records.run import RunRecord, read_run
from trainwright.records.step import read_steps
from trainwright.records.store import write_text

if TYPE_CHECKING:
    from trainwright.hardware.link import Link
    from trainwright.hardware.metrics import Metrics

PAGE_NAME = "report.html"
MOST_ON_A_PAGE = 8


def report(folder: Path, page: Path | None = None) -> tuple[PlanRecord, RunRecord, Path]:
    """Read a run, write its page (default: report.html in the folder), and return plan, run and the page's path."""
    from trainwright.report.run_html import run_html

    plan, run = read_plan(folder), read_run(folder)
    target = page or folder / PAGE_NAME
    write_text(target, run_html(plan, run, read_steps(folder)))
    return plan, run, target


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployOptions:
    """How many nodes, which image, how long, and SkyPilot's name for the device (None on CPUs)."""

    n_nodes: int = 1
    image: str = "trainwright:latest"
    hours: int = 24
    accelerator: str | None = None


def deploy(folder: Path, output: Path, options: DeployOptions) -> tuple[Path, ...]:
    """Write the files that run the plan of ``folder`` elsewhere; returns their paths. Starts nothing."""
    from trainwright.deploy.docker import docker_files
    from trainwright.deploy.kubernetes import kubernetes_files
    from trainwright.deploy.sky import sky_files
    from trainwright.deploy.slurm import slurm_files
    from trainwright.deploy.target import target

    where = target(read_plan(folder), str(folder.absolute()), options.n_nodes, options.image, options.hours)
    files = docker_files(where) | slurm_files(where) | kubernetes_files(where) | sky_files(where, options.accelerator)
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_text(output / name, text)
    return tuple(output / name for name in files)


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
