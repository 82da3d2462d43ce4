import json

from click.testing import CliRunner

from trainwright.cli.doctor import command
from trainwright.probe import installed
from trainwright.probe.installed import Finding


def test_doctor_ends_with_one_only_when_something_is_broken(monkeypatch):
    fine = Finding(what="torch", found="2.13")
    monkeypatch.setattr(
        installed, "findings", lambda: (fine, Finding(what="x", found="absent", verdict="note", advice="get"))
    )
    result = CliRunner().invoke(command)
    assert result.exit_code == 0
    assert "-> get" in result.output
    monkeypatch.setattr(
        installed, "findings", lambda: (fine, Finding(what="torchvision", found="broken", verdict="wrong"))
    )
    result = CliRunner().invoke(command, ["--json"])
    assert result.exit_code == 1
    assert [finding["verdict"] for finding in json.loads(result.output)] == ["fine", "wrong"]
