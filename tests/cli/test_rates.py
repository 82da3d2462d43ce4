import json
from pathlib import Path

from click.testing import CliRunner

from trainwright.cli.main import trainwright_group

JOB = """
[model]
preset = "small-cnn"
[data]
builtin = "digits"
size = 8
per_class = 8
[training]
global_batch = 16
epochs = 3
"""


def test_rates_prints_what_it_found_and_draws_the_curves(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(JOB)
    words = ["rates", str(tmp_path / "job.toml"), "--steps", "20", "--html", str(tmp_path / "rates.html"), "--json"]
    result = CliRunner().invoke(trainwright_group, words, catch_exceptions=False)
    found = json.loads(result.stdout)
    assert len(found["range_curve"]["rates"]) > 5
    assert "memory: about" in found["advice"][-1]
    assert (tmp_path / "rates.html").read_text().count("<svg") == 2
