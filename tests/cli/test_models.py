"""The command line of the models."""

import json
from pathlib import Path

import pytest

from trainwright.cli import main
from trainwright.models.catalogue import preset_shape, presets
from trainwright.models.huggingface import huggingface_config


def test_the_list_holds_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "--json"])
    listed = json.loads(capsys.readouterr().out)["models"]
    assert [one["name"] for one in listed] == list(presets())
    main(["models"])
    assert "llama-3-8b" in capsys.readouterr().out


def test_one_model_shows_figures_and_ops(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "mixtral-8x7b", "--seq", "4096"])
    said = capsys.readouterr().out
    assert "46,702,792,704" in said
    assert "128 KiB" in said
    assert "experts_in" in said


def test_json_of_one_model_has_its_ops(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "gpt2", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["parameters"] == 124_439_808
    assert shown["block_list"][1]["repeats"] == 12
    assert shown["block_list"][1]["ops"][1]["kind"] == "Matmul"


def test_a_config_on_disk_is_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(huggingface_config(preset_shape("qwen3-0.6b"))))
    main(["models", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["parameters"] == 596_049_920


def test_an_unknown_model_ends_with_two_and_the_nearest_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["models", "lama-3-8b"])
    assert stopped.value.code == 2
    assert "did you mean llama-3-8b" in capsys.readouterr().err
