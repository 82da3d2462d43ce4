import pytest

from trainwright.report.variants_text import VariantLine, gain, gain_text, interval_95


def _line(name: str, *by_seed: float, is_accuracy: bool = True) -> VariantLine:
    return VariantLine(
        name=name, by_seed=by_seed, figure=interval_95(by_seed), is_accuracy=is_accuracy, n_seeds=len(by_seed),
        seconds=1.0, step_s=(1.0, 1.0), peak_bytes=(1.0, 1.0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (
            (0.90, 0.91, 0.92),
            (0.80, 0.81, 0.83),
            "one beats other by 9.7 ± 1.4 points, seed by seed, with 3 of 3 seeds; t",
        ),
        ((0.80, 0.90, 1.00), (0.78, 0.87, 0.98), "overlap, the difference's is above 0"),
        ((0.80, 0.81, 0.83), (0.90, 0.91, 0.92), "other beats one by 9.7 ± 1.4 points"),
        ((0.80, 0.90, 0.70), (0.85, 0.80, 0.79), "no difference shown (1.3 ± 24.9 points, seed by seed)"),
    ],
)
def test_variants_are_told_apart_by_their_seeds(one: tuple[float, ...], other: tuple[float, ...], said: str) -> None:
    assert said in gain_text(gain(_line("one", *one), _line("other", *other)))


def test_less_loss_is_better() -> None:
    found = gain(_line("one", 0.5, 0.6, is_accuracy=False), _line("other", 0.7, 0.9, is_accuracy=False))
    assert (found.better.name, found.n_won) == ("one", 2)
    assert found.mean == pytest.approx(0.25)
