"""The training loop: read this file to know what a run does.

What runs on the CPU, for those who predict it: eager Hugging Face forward with SDPA attention (no mask, is_causal),
logits for every position and a fused log-softmax + NLL over them, backward, gradients summed over replicas in buckets
after the last micro-batch, a norm over all gradients (and one more pass only when it is above the limit), and a fused
AdamW. bf16 is torch.autocast: weights are cast at their first use in each micro-batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainwright.errors import InterruptedRunError, PreemptedError
from trainwright.records.run import Evaluation
from trainwright.records.step import StepRecord
from trainwright.runtime.model import set_training
from trainwright.train.measure import Clock, memory_bytes, peak_bytes_of
from trainwright.train.numerics import are_sound, leave_out
from trainwright.train.optimizer import clip
from trainwright.train.session import Session
from trainwright.train.transfer import thaw

WARMUP_STEPS = 3
"""First steps of a process, or after the last thaw, that no median counts; memory is measured in the last of them."""


def train(session: Session) -> None:
    """Take steps until the job's stopping rule, or until asked to stop; the session holds what came of it."""
    first = max(session.step, session.settled_step)
    while not session.is_over:
        session.beat("computing")
        if session.step == first + WARMUP_STEPS - 1:
            _measured_step(session)
        else:
            session.keep(one_step(session), counts=session.step >= first + WARMUP_STEPS)
        if not session.meet():
            continue
        if session.evaluation_due:
            session.keep_evaluation(evaluate(session))
        if session.asked_to_stop:
            _save_and_stop(session)
        if session.checkpoint_due or session.is_over:
            session.save()
        session.met_step = session.step
    session.saver.wait(session.beat)


def one_step(session: Session) -> StepRecord | None:
    """One optimizer step over this process's part of the global batch; None when a NaN made it be left out."""
    clock = Clock()
    sharded, settings = session.sharded, session.job.optimizer
    rate = session.rate
    thaw(sharded.model, session.job.transfer, session.step)
    for group in session.optimizer.param_groups:
        group["lr"] = rate * group.get("rate_share", 1.0)
    inputs, targets = session.batch(session.step)
    size = session.micro_batch
    micros = list(zip(inputs.split(size), targets.split(size), strict=True))
    clock.mark("data")
    scale = session.sync.scale / session.tokens_per_step
    joined = []
    for loss in sharded.rounds(micros, scale, session.precision, clock.mark):
        session.beat("waiting for the others to join gradients")
        loss_value, norm = session.join(loss)
        clock.mark("optimizer")  # the gradients' norm; what processes exchanged is told apart
        joined.append((loss_value, norm))
        if are_sound(loss_value, norm):
            clip(session.sync, norm, settings.clip_norm)
        else:
            leave_out(session, loss_value, norm)
        session.update()
        clock.mark("optimizer")
    if not all(are_sound(*each) for each in joined):
        return None
    seconds, parts = clock.read()
    return StepRecord(
        step=session.step,
        loss=sum(loss_value for loss_value, _ in joined),
        learning_rate=rate,
        gradient_norm=max(norm for _, norm in joined),
        tokens=session.tokens_per_step,
        seconds=seconds,
        time=sharded.told(parts),
        memory_bytes=memory_bytes(),
    )


@torch.no_grad()
def evaluate(session: Session) -> Evaluation:
    """Loss per target on the held-out data, shared out among the replicas; with classes, the share that is right."""
    session.beat("checking on the held-out data")
    model, counts_hits = session.sharded.model, session.task.counts_hits
    model.eval()
    total = torch.zeros(3, dtype=torch.float64)
    for inputs, targets in session.held_out_batches():
        with session.precision():
            total += session.sharded.check(inputs, targets, hits=counts_hits)
    set_training(model)
    session.beat("waiting for the others to have checked too")
    session.sharded.total(total)
    loss, hits = (float(part / total[1]) for part in (total[0], total[2]))
    accuracy = hits if counts_hits else None
    return Evaluation(step=session.step, loss=loss, perplexity=math.exp(min(loss, 700.0)), accuracy=accuracy)


def _measured_step(session: Session) -> None:
    """A step under the memory profiler, which slows it down: its time does not count."""
    records: list[StepRecord | None] = []
    alive = [*session.sharded.local.values(), *session.sharded.model.buffers()]
    if session.sharded.strategy.zero_stage < 2:
        alive += session.sharded.model.parameters()
    alive += [v for state in session.optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
    session.peak_bytes = peak_bytes_of(lambda: records.append(one_step(session)), alive)
    session.keep(records[0], counts=False)


def _save_and_stop(session: Session) -> None:
    session.save()
    session.saver.wait(session.beat)
    how = f"stopped after step {session.step} of {session.n_steps or 'an open number of'} and saved"
    again = "run the same command again to go on"
    if session.asked_to_stop == "interrupt":
        raise InterruptedRunError(how, hint=again)
    raise PreemptedError(how, hint=again)
