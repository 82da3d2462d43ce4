"""`trainwright hardware [NAME...]`: devices, links and prices; compared, filtered, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("hardware", epilog="Example: trainwright hardware A100-SXM-80GB H100-SXM RTX-4090")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--vendor", help="Only this maker: NVIDIA, AMD, Google, ...")
@click.option("--kind", help="Only gpu, tpu or npu.")
@click.option("--dtype", help="Only devices with a peak for it: bf16, fp8, fp4, ...")
@click.option("--memory", metavar="SIZE", help="At least this much, such as '40 GiB'.")
@click.option("--year", type=int, help="Released in this year or later.")
@click.option("--price", metavar="DOLLARS", help="At most this much per device and hour, such as '$2'.")
@click.option("--links", "want_links", is_flag=True, help="List links instead of devices.")
@click.option("--prices", type=click.Path(path_type=Path), metavar="FILE", help="Your own prices, a TOML file.")
@click.option("--compare", is_flag=True, help="Lay measured machines beside what was promised; say what is odd.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with the rooflines.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    names: tuple[str, ...], compare: bool, want_links: bool, html: Path | None, as_json: bool, **asked: Any
) -> None:
    """List devices; or show those named, links too, side by side on every metric with their rooflines.

    A measured machine's name (`trainwright probe --name NAME`) does wherever a device's does.
    """
    from trainwright import api
    from trainwright.cli.output import print_json, print_rich, say
    from trainwright.report.hardware_json import hardware_json
    from trainwright.report.hardware_text import hardware_text, link_list
    from trainwright.report.promise_text import promise_json, promise_text

    if compare:
        compared = api.compare_machines(names)
        if as_json:
            print_json([promise_json(one) for one in compared])
        for one in () if as_json else compared:
            print_rich(promise_text(one))
        return
    prices = asked.pop("prices")
    found, links = api.hardware(names, asked, want_links=want_links, prices=prices, page=html)
    if as_json:
        print_json(hardware_json(found, links))
    else:
        if found:
            print_rich(hardware_text(found, bool(names)))
        if links:
            print_rich(link_list(links))
    if html is not None:
        say(f"page: {html}")
