"""`trainwright plan JOB|MODEL --on CLUSTER`: every way to split the job, searched and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_PATH = click.Path(path_type=Path)


@click.command("plan", epilog='Example: trainwright plan llama-3-8b --on "2 x 8xH100-SXM" --tokens 15T --pin "!pp"')
@click.argument("subject", metavar="JOB|MODEL")
@click.option("--on", multiple=True, metavar="CLUSTER", help='"16 x 8xH100-SXM", "any", or "here" (the default).')
@click.option(
    "--goal",
    type=click.Choice(["fastest", "cheapest", "least-memory"]),
    help="Default: fastest; cheapest a token for serving.",
)
@click.option("--stack", help="The software that will run it: torchtitan, megatron-core, ...; vllm, tensorrt-llm, ...")
@click.option("--serve", metavar="TEXT", help='Serve it: "prompt=2k,output=300,rate=10,ttft=1s,tpot=50ms".')
@click.option("--pin", "pins", multiple=True, metavar="PIN", help='"tp=8", "!pp", "recompute=none|selective".')
@click.option("--strategy", metavar="TEXT", help='Check and price this one instead: "dp=8,tp=2,zero=1".')
@click.option("--input", "inputs", multiple=True, metavar="TEXT", help="What code is fed: dtype[batch,seq,...], each.")
@click.option("--batch", type=int, help="Global batch, in sequences.")
@click.option("--seq", type=int, help="Tokens in a sequence.")
@click.option("--steps", type=int, help="Optimizer steps of the whole job.")
@click.option("--tokens", metavar="COUNT", help='Tokens of the whole job, as "300B".')
@click.option("--optimizer", type=click.Choice(["sgd", "adam", "adamw", "adamw8bit", "adafactor", "muon"]))
@click.option("--deadline", metavar="TIME", help='The job must end within, as "14 days".')
@click.option("--budget", metavar="MONEY", help='The job may cost at most, as "$20000".')
@click.option("--max-gpus", "max_devices", type=int, help="Use at most this many devices.")
@click.option("--headroom", type=float, default=0.05, help="Share of memory kept free (0.05).")
@click.option("--top", type=int, default=8, help="How many plans to show (8).")
@click.option("--prices", type=_PATH, metavar="FILE", help="Your own prices, a TOML file.")
@click.option("--output", type=_PATH, metavar="FILE", help="Write plan.json, which `trainwright train` runs.")
@click.option("--html", type=_PATH, metavar="FILE", help="Write a page: memory by stage, timeline, front, roofline.")
@click.option("--export", type=_PATH, metavar="FOLDER", help="Write settings of torchtitan, Megatron, DeepSpeed, ...")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    subject: str, output: Path | None, html: Path | None, export: Path | None, as_json: bool, **asked: Any
) -> None:
    """Find how to split JOB over a cluster, what it costs, and why; say what would fit when nothing does.

    JOB|MODEL is a job file, a model's name, a Hugging Face folder, code (file.py:function with --input), or a plan.json
    to check and price again.
    """
    from trainwright import api
    from trainwright.cli.output import print_json, print_rich, say
    from trainwright.report.answers import answer_json, answer_text

    answer = api.plan(subject, api.PlanOptions(**asked), say)
    if as_json:
        print_json(answer_json(answer))
    else:
        print_rich(answer_text(answer))
    for line in api.write_answer(answer, output, html, export):
        say(line)
