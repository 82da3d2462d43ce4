"""Variants of a job beside each other, each over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainwright.api.training import PrepareOptions, folder_of_job, run
from trainwright.errors import InvalidInputError
from trainwright.records.plan import PlanRecord, read_plan
from trainwright.records.run import RunRecord
from trainwright.report.variants_text import VariantLine, interval_95, median


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One job over its seeds: the last held-out checks, and predicted beside measured of the runs."""

    name: str
    runs: tuple[RunRecord, ...]
    plans: tuple[PlanRecord, ...]

    @property
    def accuracies(self) -> list[float]:
        """Held-out accuracy of each seed, where there are classes."""
        checks = [record.evaluations[-1] for record in self.runs if record.evaluations]
        return [check.accuracy for check in checks if check.accuracy is not None]

    @property
    def losses(self) -> list[float]:
        """Held-out loss of each seed."""
        return [record.evaluations[-1].loss for record in self.runs if record.evaluations]


def compare_jobs(
    paths: Sequence[Path], seeds: Sequence[int], options: PrepareOptions, tell: Callable[[Any], None]
) -> tuple[Variant, ...]:
    """Plan and run every job with each of the seeds, one after another; what was run before is not run again."""
    from trainwright.jobs.parse import load_job

    return tuple(_variant(load_job(path), seeds, options, tell) for path in paths)


def compare(
    paths: Sequence[Path], seeds: Sequence[int], options: PrepareOptions, tell: Callable[[Any], None]
) -> tuple[VariantLine, ...]:
    """``compare_jobs``, as the lines of a table."""
    return tuple(line_of(variant) for variant in compare_jobs(paths, seeds, options, tell))


def line_of(variant: Variant) -> VariantLine:
    """The figures of one variant: accuracy where every run has one, else held-out loss."""
    is_accuracy = len(variant.accuracies) == len(variant.runs)
    by_seed = variant.accuracies if is_accuracy else variant.losses
    if not by_seed:
        raise InvalidInputError(
            f"{variant.name} held nothing out to be compared by", hint="set data.held_out_share, as 0.1"
        )
    chosen, runs = [plan.chosen for plan in variant.plans], variant.runs
    return VariantLine(
        name=variant.name,
        by_seed=tuple(by_seed),
        figure=interval_95(by_seed),
        is_accuracy=is_accuracy,
        n_seeds=len(runs),
        seconds=median([record.seconds for record in runs]),
        step_s=(median([c.step_s for c in chosen]), median([record.step_s for record in runs])),
        peak_bytes=(median([c.peak_bytes for c in chosen]), median([r.peak_bytes for r in runs if r.peak_bytes])),
    )


def _variant(job: Any, seeds: Sequence[int], options: PrepareOptions, tell: Callable[[Any], None]) -> Variant:
    runs, plans = [], []
    for seed in seeds:
        named = replace(job, seed=seed, name=f"{job.name}-seed{seed}")
        folder = folder_of_job(named, options, lambda _: None, again=False)
        runs.append(run(folder, lambda _: None))
        plans.append(read_plan(folder))
        check = runs[-1].evaluations[-1:]
        said = f", held-out loss {check[0].loss:.3f}" if check else ""
        tell(f"{job.name}, seed {seed}: {runs[-1].steps} steps in {runs[-1].seconds:.1f} s{said}")
    return Variant(name=job.name, runs=tuple(runs), plans=tuple(plans))
