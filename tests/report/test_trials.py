import pytest

from trainwright.records.trials import NoiseScale, RateCurve, Trials
from trainwright.report.trials import advice


@pytest.mark.parametrize(
    ("samples", "said"),
    [(0.4, "noise scale: less than one sample (batch now 8)"), (72.6, "73 samples (batch now 8)"), (None, "not to be")],
)
def test_a_noise_scale_is_said_in_samples(samples: float | None, said: str) -> None:
    curve = RateCurve(rates=(0.1,), losses=(2.0,), proposed=None)
    noise = NoiseScale(samples=samples, of_batch=8, n_steps=20)
    found = Trials(
        name="a", range_curve=curve, curves=(), noise=noise, most_at_once=None, memory_bytes=1e9, unit="tokens"
    )
    assert any(said in line for line in advice(found))
