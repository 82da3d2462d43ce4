import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from rich.console import Console
from tests.records.test_store import CANDIDATE, PLAN, RUN

from trainwright.records.step import StepRecord
from trainwright.report.compare import compare, predicted_parts
from trainwright.report.run_html import run_html
from trainwright.report.run_text import run_text
from trainwright.report.svg import Axis, Bar, Series, bar_chart, line_chart

STEPS = [
    StepRecord(step=i, loss=3.0 / i, learning_rate=1e-3, gradient_norm=1.0, tokens=8, seconds=0.1, time={})
    for i in range(1, 6)
]


def test_the_predicted_parts_add_up_to_the_step_with_the_head_divided() -> None:
    chosen = replace(CANDIDATE, time={"forward": 0.01, "backward": 0.02, "head_loss": 0.003, "dispatch": 0.007})
    parts = predicted_parts(replace(chosen, step_s=0.04))
    assert sum(parts.values()) == pytest.approx(0.04)
    assert parts["forward"] == pytest.approx(0.01 + 0.01 / 3.0)  # a third of head and loss, and of issuing kernels
    assert parts["other"] == pytest.approx(0.0)


def test_the_difference_is_signed_against_the_measurement() -> None:
    step = compare(CANDIDATE, replace(RUN, step_s=0.05))[0]
    assert step.difference_share == pytest.approx(-0.2)


def test_the_terminal_table_names_every_line_and_keeps_100_columns() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(run_text(PLAN, replace(RUN, sample="The [bracketed] text", prompt="The")))
    text = console.export_text()
    console.file.close()
    assert "predicted" in text
    assert "[bracketed]" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_page_is_whole_and_asks_nothing_of_the_outside() -> None:
    html = run_html(PLAN, replace(RUN, sample="<b>not markup</b>"), STEPS)
    addresses = set(re.findall(r"https?://[^\s\"']+", html)) - {"http://www.w3.org/2000/svg"}
    assert not addresses
    assert "<script" not in html
    assert "&lt;b&gt;not markup" in html
    for svg in re.findall(r"<svg.*?</svg>", html):
        ET.fromstring(svg)


def test_charts_survive_empty_flat_and_infinite_data() -> None:
    axis = Axis(label="x")
    assert line_chart("t", [Series(name="a", x=[], y=[])], axis, axis) == ""
    flat = line_chart("t", [Series(name="a", x=[1, 2], y=[3, 3])], axis, Axis(label="y", log=True))
    infinite = line_chart("t", [Series(name="a", x=[1, 2], y=[3, float("inf")])], axis, axis)
    bars = bar_chart("t", [Bar(label="a", parts=[("x", 0.0)])], str, limit=("there is", 2.0))
    for figure in (flat, infinite, bars):
        ET.fromstring(figure)
        assert "nan" not in figure
