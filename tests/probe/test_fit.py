import pytest

from trainwright.probe import fit
from trainwright.probe.samples import AttentionSample, LinkSample, MatmulSample, StreamSample


def test_a_matmul_curve_is_found_again_through_outliers():
    samples = []
    for m in (16, 64, 256, 1024, 4096):
        for k in (32, 256, 2048):
            rate = 100e9 * m / (m + 20.0) * k / (k + 16.0)
            samples.append(
                MatmulSample(dtype="fp32", m=m, n=256, k=k, layout="forward", seconds=2.0 * m * 256 * k / rate)
            )
    samples[3] = MatmulSample(dtype="fp32", m=64, n=256, k=32, layout="forward", seconds=1.0)
    peak, curve = fit.matmul_curve(samples)
    assert peak * curve.best == pytest.approx(100e9, rel=0.02)
    assert curve.half_m == pytest.approx(20.0, rel=0.2)
    assert curve.half_k == pytest.approx(16.0, rel=0.2)
    assert curve.half_n < 2.0


def test_an_attention_curve_counts_only_the_keys_a_block_takes():
    samples = []
    for seq in (128, 256, 1024, 2048):
        for head_dim in (32, 64, 128):
            flop = 4.0 * 8 * seq**2 * head_dim * min(1.0, (seq + 512) / (2 * seq))
            forward_s = flop / (90e9 * head_dim / (head_dim + 16.0))
            samples.append(
                AttentionSample(
                    dtype="fp32", n_heads=8, seq=seq, head_dim=head_dim, forward_s=forward_s, backward_s=3 * forward_s
                )
            )
    curve = fit.attention_curve(samples, 512)
    assert curve.forward_flop_per_s == pytest.approx(90e9, rel=0.03)
    assert curve.backward_flop_per_s == pytest.approx(75e9, rel=0.03)
    assert curve.forward_half_dim == pytest.approx(16.0, rel=0.15)


def test_a_bare_call_is_taken_off_a_stream():
    sample = StreamSample(touched_bytes=3e6, seconds=4e-5, far_s=7e-5, near_s=2e-5)
    (small,), (far,), (near,) = fit.stream_points([sample], 1e-5)
    assert small == (3e6, pytest.approx(1e11))
    assert far == (3e6, pytest.approx(5e10))
    assert near == (3e6, pytest.approx(3e11))


def test_collective_tables_never_fall_with_size():
    samples = [
        LinkSample(kind="all_reduce", n_ranks=2, message_bytes=size, least_s=least, mean_s=2 * least)
        for size, least in ((1e6, 1e-3), (1e3, 1e-4), (1e4, 5e-5))
    ]
    (table,) = fit.collectives(samples)["all_reduce"]
    assert table.message_bytes == (1e3, 1e4, 1e6)
    assert table.seconds == pytest.approx((2e-4, 2e-4, 2e-3))
