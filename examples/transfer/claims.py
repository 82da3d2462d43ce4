"""What starting from a trained net, reused rows of its head, and augmentation bring, on scikit-learn's digits.

    python examples/transfer/claims.py fine-tuning
    python examples/transfer/claims.py rows
    python examples/transfer/claims.py augmentation --first 5      # seeds 5 to 9, which nobody chose by

Each plans and runs two jobs of this folder with five seeds, prints them beside each other and says whether the claim
holds; exit code 1 where it does not. Runs that are there already are read, not run again.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from trainwright import api
from trainwright.cli.output import print_rich, say
from trainwright.report.variants_text import Gain, gain, variants_text

HERE = Path(__file__).parent
RUNS = HERE.parent.parent / "runs" / "transfer"
"""Where the jobs look for the net they start from."""
SEEDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One variant is to beat another by so many points at least; ``apart``: their intervals must not overlap either."""

    text: str
    better: str
    worse: str
    points: float = 0.0
    apart: bool = True

    def holds(self, found: Gain) -> bool:
        """Whether the better one won so clearly."""
        enough = found.better.name == self.better and 100 * found.mean >= self.points and found.mean > found.half
        return enough and (found.is_apart or not self.apart)


CLAIMS = {
    "fine-tuning": Claim(
        text="a net trained on 0 to 4 and fine-tuned to 5 to 9 with 10 images a class beats the same net from scratch "
        "by at least 5 points, with 95 % intervals apart",
        better="finetune", worse="scratch", points=5.0,
    ),
    "rows": Claim(
        text="where labels overlap, the old head's rows beat a head drawn at random in the first epoch",
        better="rows-reused", worse="rows-drawn",
    ),
    "augmentation": Claim(
        text="20 images a class with augmentation beat the same without", better="augmented", worse="plain", apart=False
    ),
}  # fmt: skip


@click.command()
@click.argument("name", metavar="CLAIM", type=click.Choice(list(CLAIMS)))
@click.option("--first", default=0, show_default=True, type=click.IntRange(0), help="The first of five seeds.")
def main(name: str, first: int) -> None:
    """Run the jobs of CLAIM over five seeds, print what came of them, and whether it holds."""
    claim, began = CLAIMS[name], time.perf_counter()
    options = api.PrepareOptions(output=RUNS)
    if name != "augmentation" and not (RUNS / "digits-0-4" / "run.json").exists():
        api.run(api.prepare(HERE / "digits-0-4.toml", options, say), lambda _: None)
    jobs = [HERE / f"{each}.toml" for each in (claim.worse, claim.better)]
    lines = api.compare(jobs, range(first, first + SEEDS), options, say)
    print_rich(variants_text(lines))
    say(f"{time.perf_counter() - began:.0f} s")
    holds = claim.holds(gain(*lines))
    click.echo(f"\n{'holds' if holds else 'does not hold'}: {claim.text}")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
