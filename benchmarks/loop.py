"""What our loop costs beside a bare PyTorch loop on the same model, data and settings, in one process.

    python benchmarks/loop.py [--threads 1] [--precision fp32] [--rounds 12] [--steps 4]

Rounds of a few steps alternate between the two, so that whatever else the machine does falls on both. Prints tokens/s
of each (from the fastest quarter of rounds, and the median) and the ratio of ours to the bare loop.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as functional

from trainwright.data.tokens import prepare_tokens
from trainwright.jobs.job import Stopping
from trainwright.jobs.parse import example_job
from trainwright.jobs.store import job_to_dict
from trainwright.jobs.strategy import Strategy
from trainwright.records.plan import Candidate, PlanRecord, write_plan
from trainwright.runtime.model import build_model
from trainwright.runtime.place import Place, use_threads
from trainwright.train.loop import one_step
from trainwright.train.session import Session
from trainwright.train.work import open_session

MODEL = {
    "model_type": "llama",
    "vocab_size": 2048,
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "intermediate_size": 512,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}


def make_session(folder: Path, precision: str, micro_batch: int) -> Session:
    """The built-in example, ready to take steps."""
    job = dataclasses.replace(example_job(), stopping=Stopping(steps=10**6), global_batch=micro_batch)
    prepare_tokens(folder / "data", job.data, job.seq)
    strategy = dataclasses.asdict(Strategy(micro_batch=micro_batch, precision=precision))
    zero = dict.fromkeys(("step_s", "step_low_s", "step_high_s", "peak_bytes", "tokens_per_s"), 0.0)
    chosen = Candidate(label="", strategy=strategy, n_processes=1, threads_per_process=1, time={}, memory={}, **zero)
    plan = PlanRecord(
        job=job_to_dict(job), model=MODEL, cluster={}, device_type="cpu", stack="trainwright", chosen=chosen
    )
    write_plan(folder, plan)
    return open_session(folder, plan, Place(), lambda *_message: None)


def our_step(session: Session) -> Callable[[], None]:
    """A step as the product takes it, its record written down."""

    def step() -> None:
        session.keep(one_step(session), counts=True)

    return step


def bare_step(session: Session, precision: str) -> Callable[[], None]:
    """What anybody would write: model, loss, backward, clip, fused AdamW, loss.item()."""
    model = build_model(MODEL, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    taken: list[float] = []

    def step() -> None:
        inputs, targets = session.task.rows(len(taken), 0, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(input_ids=inputs, use_cache=False).logits
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        taken.append(loss.item())

    return step


def seconds(step: Callable[[], None], n_steps: int) -> float:
    """Of one step, over a few."""
    begin = time.perf_counter()
    for _ in range(n_steps):
        step()
    return (time.perf_counter() - begin) / n_steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    use_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        session = make_session(Path(folder), arguments.precision, arguments.batch)
        steps = {"ours": our_step(session), "bare": bare_step(session, arguments.precision)}
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for round_number in range(arguments.rounds + 1):
            for name in sorted(steps, reverse=round_number % 2 == 1):
                spent = seconds(steps[name], arguments.steps)
                if round_number:
                    taken[name].append(spent)
    report(taken, session.tokens_per_step)


def report(taken: dict[str, list[float]], tokens: int) -> None:
    """The table."""
    quick = {name: statistics.mean(sorted(times)[: max(len(times) // 4, 1)]) for name, times in taken.items()}
    middle = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{'':6} {'fastest quarter':>16} {'median':>12}   tokens/s")
    for name in taken:
        print(f"{name:6} {tokens / quick[name]:16,.0f} {tokens / middle[name]:12,.0f}")
    pairs = statistics.median(b / o for o, b in zip(taken["ours"], taken["bare"], strict=True))
    print(f"ours / bare: {quick['bare'] / quick['ours']:.3f} fastest quarter, {pairs:.3f} median of pairs")


if __name__ == "__main__":
    main()
