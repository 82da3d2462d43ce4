import json
from pathlib import Path

import pytest
from tests.records.test_store import PLAN, RUN

from trainwright.cli import main
from trainwright.records.plan import write_plan
from trainwright.records.run import write_run


def test_a_report_is_redrawn_from_the_records_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plan(tmp_path, PLAN)
    write_run(tmp_path, RUN)
    main(["report", str(tmp_path), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["lines"][0]["name"] == "step"
    assert printed["lines"][0]["difference_share"] == pytest.approx(-0.6)
    main(["report", str(tmp_path)])
    assert "predicted" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_a_folder_without_a_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["report", str(tmp_path)])
    assert caught.value.code == 2
    assert "error: there is no" in capsys.readouterr().err
