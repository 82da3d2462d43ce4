"""The command line of the catalogue."""

import json
from pathlib import Path

import pytest

from trainwright.cli import main


def test_json_of_one_device(capsys: pytest.CaptureFixture[str]) -> None:
    main(["hardware", "RTX 4090", "--json"])
    (one,) = json.loads(capsys.readouterr().out)["devices"]
    assert one["name"] == "RTX-4090"


def test_links_by_name_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    main(["hardware", "--links", "--json"])
    assert len(json.loads(capsys.readouterr().out)["links"]) >= 60
    main(["hardware", "NVLink-4"])
    assert "450 GB/s" in capsys.readouterr().out


def test_own_prices_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "prices.toml"
    mine.write_text('[[price]]\ndevice = "L4"\ndollars_per_device_hour = 0.11\n')
    page = tmp_path / "page.html"
    main(["hardware", "L4", "T4", "--prices", str(mine), "--html", str(page)])
    captured = capsys.readouterr()
    assert "$0.11/h" in captured.out
    assert f"page: {page}" in captured.err
    assert "$0.11/h" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["H100"], "'H100' is not one device"),
        (["--html", "page.html"], " devices are too many for one page"),
        (["--memory", "40"], "'40' has no byte unit"),
    ],
)
def test_refusals_exit_2_with_a_hint(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["hardware", *arguments])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert says in err
    assert "hint: " in err
