"""Devices as text, JSON and a page."""

import json

from rich.console import Console

from trainwright.hardware import catalogue
from trainwright.hardware.catalogue import device, link, links
from trainwright.hardware.metrics import Filter, metrics, select
from trainwright.hardware.roofline import roofline
from trainwright.report.hardware_html import hardware_html
from trainwright.report.hardware_json import hardware_json
from trainwright.report.hardware_text import hardware_text, link_list
from trainwright.report.roofline_text import COLUMNS, roofline_text


def printed(renderable: object) -> str:
    console = Console(width=100, record=True, file=None, quiet=False, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_the_list_has_every_device_on_one_line_of_100_columns() -> None:
    text = printed(hardware_text(select((), Filter()), named=False))
    lines = text.splitlines()
    assert len(lines) == len(catalogue.devices()) + 3
    assert max(len(line) for line in lines) <= 100


def test_devices_side_by_side() -> None:
    text = printed(hardware_text([metrics("RTX-3090"), metrics("MI300X")], named=True))
    assert "cores x clock x 2" in text
    assert "35.6 TFLOP/s (0%)" in text
    assert "81.7 TFLOP/s (-50%)" in text  # two operations a clock: the listed exception
    assert "78 T bf16 (110%)" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_one_device_comes_with_quotes_and_sources() -> None:
    text = printed(hardware_text([metrics("H100-SXM")], named=True))
    assert "Nebius gpu-h100-sxm" in text
    assert "source (2026-11): " in text
    assert "more with --json" in text


def test_links() -> None:
    assert "NVLink-4" in printed(link_list(links()))
    assert "in-switch 473-482" in printed(link_list([link("NVLink-4")]))


def test_the_roofline_rises_then_stays() -> None:
    rows = roofline_text([roofline(device("A100-SXM-80GB"))]).splitlines()
    plot = [row.split("|")[1] for row in rows if "|" in row]
    assert plot[0].startswith(" ")
    assert plot[0].endswith("A")
    assert plot[-1].startswith("A")
    heights = [next(y for y, row in enumerate(plot) if row.ljust(COLUMNS)[x] == "A") for x in range(COLUMNS)]
    assert heights == sorted(heights, reverse=True)


def test_json_says_everything_in_base_units() -> None:
    value = json.loads(json.dumps(hardware_json([metrics("A100-SXM-80GB")], [link("NVLink-3")])))
    (one,) = value["devices"]
    assert one["flop_per_s"]["bf16"] == 312e12
    assert one["roofline"]["ridge_flop_per_byte"] > 100
    assert one["reference_tokens_per_s"] > 0
    assert len(one["quotes"]) > 5
    assert value["links"][0]["bytes_per_s"] == 300e9


def test_the_page_stands_alone() -> None:
    html = hardware_html([metrics("A100-SXM-80GB"), metrics("H100-SXM")])
    assert html.count("<polyline") == 2
    assert "memory limits below 153 FLOP per byte" in html
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "").split("<h2>Sources</h2>")[0]
