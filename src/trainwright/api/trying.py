"""Which learning rate and batch suit a job, found by short trainings."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright.api.training import PrepareOptions, machine, plan_here

if TYPE_CHECKING:
    from trainwright.records.plan import PlanRecord
    from trainwright.records.trials import Trials

FROM_MEMORY = ("activations", "temporary", "logits")
"""Parts of the peak that grow with the samples in flight."""
NOISE_STEPS = 20


def rates(path: Path, n_steps: int, highest: float, html: Path | None, tell: Callable[[Any], None]) -> Trials:
    """Range test, the notes' procedure, noise scale and largest batch of a job; its curves as a page when asked."""
    from trainwright.api.images import checked
    from trainwright.files import write_text
    from trainwright.jobs.parse import load_job
    from trainwright.records.trials import Trials
    from trainwright.report.compare import unit_of
    from trainwright.report.trials import trials_html
    from trainwright.train.prepare import prepare_data
    from trainwright.train.trials import noise_scale, opener, range_test, start_large

    job = load_job(path)
    job = replace(checked(job) if job.images is not None else job, precision=job.precision or "fp32")
    with tempfile.TemporaryDirectory() as folder:
        prepare_data(Path(folder) / "data", job)
        plan = plan_here(job, PrepareOptions(pins="dp=1,tp=1"), lambda _: None)
        open_ = opener(Path(folder), plan)
        tell(f"range test: {n_steps} steps up to a rate of {highest:g}")
        curve = range_test(open_, job, n_steps, highest)
        tell(f"from {highest:g} downwards, {n_steps // 2} steps each")
        curves = start_large(open_, job, n_steps // 2, highest)
        rate = curves[-1].proposed or curve.proposed or job.optimizer.learning_rate
        tell(f"noise of the gradient over {NOISE_STEPS} steps at {rate:.2g}")
        noise = noise_scale(open_, job, NOISE_STEPS, rate)
    memory_bytes = machine(lambda _: None).memory_bytes
    found = Trials(
        name=job.name, range_curve=curve, curves=curves, noise=noise, unit=unit_of(plan.job),
        most_at_once=_most_at_once(plan, memory_bytes), memory_bytes=memory_bytes,
    )  # fmt: skip
    if html is not None:
        write_text(html, trials_html(found))
        tell(f"page: {html}")
    return found


def _most_at_once(plan: PlanRecord, memory_bytes: float) -> int | None:
    """Samples in flight that fill the memory, by the plan's own parts of the peak."""
    chosen = plan.chosen
    growing = sum(chosen.memory.get(name, 0.0) for name in FROM_MEMORY) / int(chosen.strategy["micro_batch"])
    room = memory_bytes - (chosen.resident_bytes or chosen.peak_bytes) + growing * int(chosen.strategy["micro_batch"])
    return int(room / growing) if growing > 0 and room > 0 else None
