import pytest

from trainwright.api.kinds import compare_kinds


@pytest.mark.slow
def test_kinds_differ_in_what_grows_with_the_input() -> None:
    found = {line.name: line for line in compare_kinds()}
    assert list(found) == ["CNN", "RNN", "Transformer", "autoencoder", "GAN", "DBN", "GNN"]
    assert found["Transformer"].growth[0] > 1.4
    assert found["CNN"].growth[0] == pytest.approx(1.0, abs=0.05)
    assert [name for name, line in found.items() if line.growth[2] > 0.05] == ["RNN"]
    assert found["DBN"].n_parameters == 1024 * 256 + 1024 + 256 + 256 * 64 + 256 + 64
