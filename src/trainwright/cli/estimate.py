"""`trainwright estimate MODEL|JOB --on CLUSTER --strategy TEXT`: one prediction with all its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

EXAMPLE = 'trainwright estimate llama-3-8b --on "8xH100-SXM" --strategy "dp=8,zero=3,recompute=full" --stack torchtitan'


@click.command("estimate", epilog=f"Example: {EXAMPLE}")
@click.argument("subject", metavar="MODEL|JOB")
@click.option(
    "--on", default="here", metavar="CLUSTER", help='"16 x 8xH100-SXM", a TOML file, or "here" (the default).'
)
@click.option("--strategy", default="", metavar="TEXT", help='How a step is divided: "dp=8,tp=4,micro_batch=2".')
@click.option("--stack", help="The software that would run it: torchtitan, megatron-core, ...; vllm, tensorrt-llm, ...")
@click.option("--serve", metavar="TEXT", help='Serve it: "prompt=2k,output=300,rate=10,ttft=1s,tpot=50ms".')
@click.option("--input", "inputs", multiple=True, metavar="TEXT", help="What code is fed: dtype[batch,seq,...], each.")
@click.option("--batch", type=int, help="Global batch, in sequences.")
@click.option("--seq", type=int, help="Tokens in a sequence.")
@click.option("--steps", type=int, help="Optimizer steps of the whole job.")
@click.option("--tokens", metavar="COUNT", help='Tokens of the whole job, as "300B".')
@click.option("--optimizer", type=click.Choice(["sgd", "adam", "adamw", "adamw8bit", "adafactor", "muon"]))
@click.option("--lora", type=int, metavar="RANK", help="Train low-rank updates of this rank beside frozen weights.")
@click.option("--qlora", type=int, metavar="RANK", help="The same beside weights frozen in 4 bits.")
@click.option("--prices", type=click.Path(path_type=Path), metavar="FILE", help="Your own prices, a TOML file.")
@click.option("--rule-of-thumb", is_flag=True, help="Show the usual rules of thumb beside ours, and why they differ.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(subject: str, rule_of_thumb: bool, as_json: bool, **asked: Any) -> None:
    """Predict time, memory, energy and money of a training step, part by part, and whether it fits.

    MODEL|JOB is a model's name, a job file, a Hugging Face folder, or code (file.py:function with --input).
    """
    from trainwright.api import estimating
    from trainwright.cli.output import print_json, print_rich, say
    from trainwright.report.answers import forecast_json, forecast_text

    forecast = estimating.estimate(subject, estimating.EstimateOptions(**asked), say)
    if as_json:
        print_json(forecast_json(forecast))
        return
    print_rich(forecast_text(forecast, with_rule=rule_of_thumb))
