"""`trainwright models [NAME]`: models by name or config; parameters, FLOP, memory, ops."""

from __future__ import annotations

import click


@click.command("models", epilog="Example: trainwright models llama-3-8b --seq 8192")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--seq", type=click.IntRange(min=1), help="Tokens in a sequence (default: 2048, or the model's longest).")
@click.option(
    "--compare", "kinds", is_flag=True, help="Compare kinds of nets, captured: cost, growth, memory, kernels."
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(name: str | None, seq: int | None, kinds: bool, as_json: bool) -> None:
    """List models; or show NAME, a preset or the path of a Hugging Face config.json, with its figures and ops."""
    from trainwright import api
    from trainwright.cli.output import print_json, print_rich
    from trainwright.models.figures import USUAL_SEQUENCE
    from trainwright.report.models_json import model_and_ops_json, model_json
    from trainwright.report.models_text import model_list, model_text

    if kinds:
        _compare(as_json)
        return
    found = api.models(name)
    lengths = [seq or min(model.max_seq, USUAL_SEQUENCE) for model in found]
    if as_json:
        to_json = model_json if name is None else model_and_ops_json
        listed = [to_json(model, length) for model, length in zip(found, lengths, strict=True)]
        print_json({"models": listed} if name is None else listed[0])
    elif name is None:
        print_rich(model_list(list(zip(found, lengths, strict=True))))
    else:
        print_rich(model_text(found[0], lengths[0]))


def _compare(as_json: bool) -> None:
    from dataclasses import asdict

    from trainwright import api
    from trainwright.cli.output import print_json, print_rich
    from trainwright.report.kinds_text import kinds_text

    lines = api.compare_kinds()
    if as_json:
        print_json([asdict(line) for line in lines])
        return
    print_rich(kinds_text(lines))
