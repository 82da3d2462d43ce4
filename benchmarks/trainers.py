"""Our loop beside others' on the same model, data, precision and optimizer, each in a process of its own.

    pip install accelerate lightning
    python -m benchmarks.trainers --size 5M --precision fp32 [--rounds 4] [--steps 6] [--seq 64] [--only ours bare]

Everybody trains a GPT-2 with fused AdamW, gradients clipped at 1, and reads its loss in every step. A round is a few
steps of each contender, one after the other in an order drawn anew; all wait but one. Each has its own process, since a
loop that tells the allocator to keep its pages, or leaves it in pieces, would do so for all in the same one. The time
from the end of one step to the end of the next counts, data, logging and callbacks included, the first of each round
left out. Prints median and fastest tenth of each, tokens/s, and the ratio to ours on the same model.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import random
import statistics
import tempfile
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.contenders import CONTENDERS, SIZES, Setting


def contend(name: str, setting: Setting, pipe: Connection) -> None:
    """The life of one contender: build everything, then take a round whenever asked to."""
    warnings.filterwarnings("ignore")
    setting.settle()
    take = CONTENDERS[name](setting)
    pipe.send("ready")
    while n_steps := pipe.recv():
        pipe.send(take(n_steps))


def race(setting: Setting, names: list[str], n_rounds: int, n_steps: int) -> dict[str, list[float]]:
    """Seconds of the steps of each contender; a first round warms up and does not count."""
    spawn, order = multiprocessing.get_context("spawn"), random.Random(0)
    pipes: dict[str, Connection] = {}
    for name in names:
        pipes[name], theirs = spawn.Pipe()
        spawn.Process(target=contend, args=(name, setting, theirs), daemon=True).start()
        theirs.close()
    for pipe in pipes.values():
        pipe.recv()
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(n_rounds + 1):
        for name in order.sample(names, len(names)):
            pipes[name].send(n_steps)
            seconds = pipes[name].recv()
            taken[name] += seconds if number else []
    for pipe in pipes.values():
        pipe.send(0)
    return taken


def report(taken: dict[str, list[float]], tokens: int) -> str:
    """The table; the ratio is of tokens/s to those of our loop on the same model, from the medians."""
    middle = {name: statistics.median(times) for name, times in taken.items()}
    lines = [f"{'':13} {'median ms':>10} {'fastest 10 %':>12} {'tokens/s':>10} {'to ours':>8}"]
    for name, times in sorted(taken.items(), key=lambda item: middle[item[0]]):
        quick = statistics.mean(sorted(times)[: max(len(times) // 10, 1)])
        ours = middle.get("ours-nanogpt" if "nanogpt" in name else "ours")
        ratio = f"{ours / middle[name]:8.3f}" if ours else ""
        lines.append(f"{name:13} {1e3 * middle[name]:10.2f} {1e3 * quick:12.2f} {tokens / middle[name]:10,.0f} {ratio}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=SIZES, default="5M")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--seq", type=int, help="tokens of a row, where the size's own takes too long")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    size = dataclasses.replace(size, seq=arguments.seq or size.seq)
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(size=size, precision=arguments.precision, n_threads=arguments.threads, folder=Path(folder))
        taken = race(setting, arguments.only, arguments.rounds, arguments.steps)
    print(
        f"GPT-2 {arguments.size}, {size.batch} x {size.seq} tokens, {arguments.precision}, {arguments.threads} threads"
    )
    print(report(taken, size.batch * size.seq))


if __name__ == "__main__":
    main()
