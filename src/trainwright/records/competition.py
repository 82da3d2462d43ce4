"""What folds of a job said of images none of them had learned from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was said of one image: how likely the guess and its label were held."""

    file: str
    label: str
    predicted: str
    chance: float
    chance_of_label: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """An image taken for another class, as a PNG."""

    said: Judgement
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Competition:
    """Folds of a job: accuracy of each, the confusion of all held-out images, the worst mistakes, the price of views.

    ``confusion[i][j]``: images of class i taken for j. Accuracies and seconds an image are (one view, all views).
    """

    name: str
    classes: tuple[str, ...]
    folds: tuple[tuple[float, float], ...]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...]
    n_views: int
    image_s: tuple[float, float]
    n_submitted: int
