"""`trainwright capture SOURCE`: any module as blocks and ops with FLOP and memory, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(
    "capture", epilog="Example: trainwright capture model.py:build --input 'float32[batch,3,224,224]' --batch 32"
)
@click.argument("source", metavar="FILE.py:FUNCTION|MODULE:FUNCTION|FOLDER")
@click.option("--input", "inputs", multiple=True, metavar="TEXT", help="[name=]dtype[batch,seq,...], once for each.")
@click.option("--batch", type=click.IntRange(min=1), default=2, show_default=True, help="Samples in a step.")
@click.option("--seq", type=click.IntRange(min=2), help="Sequence length, where an input has one.")
@click.option("--kernels", type=click.Choice(["gpu", "cpu"]), default="gpu", show_default=True, help="Whose kernels.")
@click.option(
    "--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Of the step."
)
@click.option("--inference", is_flag=True, help="Tell a forward without gradients too.")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the model for estimate and plan."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(source: str, as_json: bool, **options: Any) -> None:
    """Say what one training step of a module does: blocks, ops, FLOP, what is kept, the peak of memory."""
    from trainwright import api
    from trainwright.capture.haste import make_haste
    from trainwright.cli.output import print_json, print_rich, say
    from trainwright.report.capture_text import capture_text

    make_haste()
    found = api.capture(source, api.CaptureOptions(**options))
    if as_json:
        print_json(found)
    else:
        print_rich(capture_text(found))
    if options["output"] is not None:
        say(f"model: {options['output']}")
