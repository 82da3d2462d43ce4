import json

from click.testing import CliRunner

from trainwright.cli.main import trainwright_group


def test_golden_points_by_source_and_device() -> None:
    runner = CliRunner()
    text = runner.invoke(trainwright_group, ["validate"], catch_exceptions=False).stdout
    assert "Korthikanti" in text
    assert "refused: 0 rows, 0.0 %" in text
    found = json.loads(
        runner.invoke(trainwright_group, ["validate", "--by", "device", "--json"], catch_exceptions=False).stdout
    )
    assert found["rows_used"] == found["overall"]["n_rows"] >= 60
    assert found["overall"]["mape"] < 0.2
    assert "A100-SXM-80GB" in found["groups"]
