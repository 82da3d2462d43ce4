"""A job in folds: each image judged by a model that never saw it, test images by all models together."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright.api.training import PrepareOptions, folder_of_job, run
from trainwright.errors import InvalidInputError

if TYPE_CHECKING:
    from trainwright.jobs.job import Job
    from trainwright.records.competition import Competition, Judgement

SHOWN = 48
"""Mistakes that the page shows, at most."""


_Seen = tuple["Judgement", Any]
"""What was said of an image, and its pixels."""
_Unlabelled = tuple[tuple[str, ...], Any]
"""Names of images and their pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompeteOptions:
    """How many folds and views; test images, and the folder of submission.csv, relabel.csv and the page."""

    folds: int
    views: int
    test: Path | None
    output: Path


def compete(path: Path, options: CompeteOptions, tell: Callable[[Any], None]) -> Competition:
    """Train (or read) the folds, judge held-out and test images, write the files of ``options.output``."""
    from trainwright.api.images import checked
    from trainwright.files import write_text
    from trainwright.jobs.parse import load_job
    from trainwright.report.competition import competition_html

    job = load_job(path)
    if job.images is None:
        raise InvalidInputError(f"{path} has no images to fold", hint='name some, as in [data] builtin = "digits"')
    source, views, job = job.images.source, _views(job, options.views), checked(job)
    test = None if options.test is None else _read_test(job, options.test, tell)
    planned = [_planned(job, fold, options) for fold in range(options.folds)]
    if options.views > 1:
        tell(_price(planned, views, 0 if test is None else len(test[0])))
    runs = [_run(folder, f"fold {fold + 1} of {options.folds}", tell) for fold, folder in enumerate(planned)]
    found, judged = _judged(job, runs, options)
    options.output.mkdir(parents=True, exist_ok=True)
    if test is not None:
        _submit(test, runs, views, options.output)
        tell(f"{len(test[0])} test images: {options.output / 'submission.csv'}")
    _write_relabel(options.output, source, judged)
    found = replace(found, n_submitted=0 if test is None else len(test[0]))
    write_text(options.output / "mistakes.html", competition_html(found))
    tell(f"page: {options.output / 'mistakes.html'}; to relabel: {options.output / 'relabel.csv'}")
    return found


def _read_test(job: Job, source: Path, tell: Callable[[Any], None]) -> _Unlabelled:
    """Names and pixels of the test images, read first: what is wrong with them should not cost a training."""
    from trainwright.data.unlabelled import unlabelled

    assert job.images is not None
    assert job.images.size is not None
    assert job.images.channels is not None
    names, pixels, note = unlabelled(source, job.images.size, job.images.channels)
    if note is not None:
        tell(f"test images: {note}; they were enlarged")
    return names, pixels


def _planned(job: Job, fold: int, options: CompeteOptions) -> Path:
    assert job.images is not None
    images = replace(job.images, folds=options.folds, fold=fold)
    named = replace(job, images=images, name=f"{job.name}-fold{fold + 1}of{options.folds}")
    return folder_of_job(named, PrepareOptions(), lambda _: None, again=False)


def _run(folder: Path, name: str, tell: Callable[[Any], None]) -> Path:
    record = run(folder, lambda _: None)
    accuracy = record.evaluations[-1].accuracy if record.evaluations else None
    tell(f"{name}: {record.steps} steps, accuracy {100 * (accuracy or 0):.1f} %")
    return folder


def _price(planned: Sequence[Path], views: Any, n_test: int) -> str:
    """What judging with several views will take, tried with the untrained model on a few images."""
    from trainwright.data.images import open_images
    from trainwright.records.plan import read_plan
    from trainwright.train.answers import view_seconds
    from trainwright.units import format_seconds

    held_out = [open_images(folder / "data").held_out.pixels for folder in planned]
    n_judged = sum(map(len, held_out)) + n_test * len(planned)
    once, each = view_seconds(read_plan(planned[0]).model, held_out[0], views)
    more = n_judged * (each - once)
    return (
        f"{views.n} views will take about {format_seconds(each)} an image, {format_seconds(once)} with one: "
        f"{format_seconds(more)} more for the {n_judged:,} times that an image is judged"
    )


def _views(job: Job, n: int) -> Any:
    from trainwright.train.answers import Views

    if n > 1 and not job.augment:
        raise InvalidInputError(f"{n} views need augmentations", hint="give the job [augment] chain, or pass --views 1")
    return Views(n=n, chain=job.augment, seed=job.seed)


def _judged(job: Job, runs: Sequence[Path], options: CompeteOptions) -> tuple[Competition, list[_Seen]]:
    """Figures, and every image with what the model that never saw it says, the most wrong first."""
    import numpy as np

    from trainwright.data.images import open_images
    from trainwright.records.competition import Competition, Mistake
    from trainwright.train.answers import chances, classifier

    folds, seconds, judged, classes = [], [], [], open_images(runs[0] / "data").classes
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    for folder in runs:
        part, model = open_images(folder / "data").held_out, classifier(folder)
        once, once_s = chances(model, part.pixels, _views(job, 1))
        said, said_s = chances(model, part.pixels, _views(job, options.views)) if options.views > 1 else (once, once_s)
        folds.append([float((each.argmax(1) == part.labels).mean()) for each in (once, said)])
        seconds.append((once_s, said_s))
        np.add.at(confusion, (part.labels, said.argmax(1)), 1)
        judged += [
            (_judgement(part, number, said[number], classes), part.pixels[number]) for number in range(len(said))
        ]
    judged.sort(key=lambda seen: (seen[0].label == seen[0].predicted, seen[0].chance_of_label, seen[0].file))
    wrong = [Mistake(said=said, png=_png(pixels)) for said, pixels in judged[:SHOWN] if said.label != said.predicted]
    found = Competition(
        name=job.name, classes=classes, folds=tuple((a, b) for a, b in folds), mistakes=tuple(wrong),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion), n_views=options.views,
        image_s=(float(np.mean([a for a, _ in seconds])), float(np.mean([b for _, b in seconds]))), n_submitted=0,
    )  # fmt: skip
    return found, judged


def _judgement(part: Any, number: int, said: Any, classes: Sequence[str]) -> Judgement:
    from trainwright.records.competition import Judgement

    label, guess = int(part.labels[number]), int(said.argmax())
    return Judgement(
        file=part.names[number], label=classes[label], predicted=classes[guess], chance=float(said[guess]),
        chance_of_label=float(said[label]),
    )  # fmt: skip


def _png(pixels: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, format="PNG")
    return file.getvalue()


def _write_relabel(output: Path, source: Path | None, judged: Sequence[_Seen]) -> None:
    """relabel.csv: all images, the most wrong first, to be corrected by hand; the CSV data source reads file and label.

    Files are the originals; images that have none (built in, or in shards) are written beside the CSV.
    """
    root = source if source is None or source.is_dir() else source.parent
    with (output / "relabel.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "predicted", "chance", "chance_of_label"])
        for number, (said, pixels) in enumerate(judged):
            original = None if root is None else (root / said.file).absolute()
            if original is None or not original.is_file():
                original = Path("relabel") / f"{number:06d}.png"
                (output / "relabel").mkdir(exist_ok=True)
                (output / original).write_bytes(_png(pixels))
            writer.writerow([original, said.label, said.predicted, f"{said.chance:.4f}", f"{said.chance_of_label:.4f}"])


def _submit(test: _Unlabelled, runs: Sequence[Path], views: Any, output: Path) -> None:
    """submission.csv: the class that the mean over all folds' models holds likeliest, for each test image."""
    import numpy as np

    from trainwright.train.answers import chances, classifier

    names, pixels = test
    models = [classifier(folder) for folder in runs]
    mean = np.mean([chances(model, pixels, views)[0] for model in models], axis=0)
    with (output / "submission.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label"])
        classes = models[0].about.classes
        writer.writerows([name, classes[best]] for name, best in zip(names, mean.argmax(1), strict=True))
