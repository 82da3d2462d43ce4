import json

from click.testing import CliRunner
from tests.hardware.test_machine import made_up_machine

from trainwright.cli.probe import command
from trainwright.hardware.machine import save_machine
from trainwright.probe.identity import identity
from trainwright.probe.machine import machine_path


def test_a_known_machine_is_shown_without_measuring(monkeypatch, tmp_path):
    monkeypatch.setenv("TRAINWRIGHT_CACHE", str(tmp_path))
    save_machine(made_up_machine(), machine_path(identity()))
    shown = CliRunner().invoke(command, ["--quick"])
    assert shown.exit_code == 0, shown.output
    for words in ("What each process reaches", "8.00 KiB", "all_reduce", "rows", "learned from runs: forward x 1.20"):
        assert words in shown.output
    told = CliRunner().invoke(command, ["--quick", "--name", "desk", "--json"])
    assert json.loads(told.stdout)["name"] == "desk"
    assert CliRunner().invoke(command, ["--forget"]).exit_code == 0
    told = CliRunner().invoke(command, ["--quick", "--json"])
    assert json.loads(told.stdout)["learned"] == {}
