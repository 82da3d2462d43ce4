import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from trainwright.cli import main

SAMPLES = str(Path(__file__).parents[1] / "capture" / "samples.py")


def test_blocks_and_ops_of_a_file_and_a_model_for_the_planner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trainwright.models.catalogue import model

    output = tmp_path / "model.json"
    main(["capture", f"{SAMPLES}:build", "--input", "float32[batch,4]", "--batch", "8", "--output", str(output)])
    captured = capsys.readouterr()
    assert "67 parameters; batch 8" in captured.out
    assert "first" in captured.out
    assert f"model: {output}" in captured.err
    assert model(str(output)).n_parameters == 67


def test_json_says_what_was_guessed_and_what_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    main(["capture", f"{SAMPLES}:WithOpaque", "--input", "float32[batch,16]", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["unknown"][0]["op"] == "samples.opaque.default"
    assert found["forward_flop"] == 2 * (2 * 2 * 16 * 16)
    main(["capture", f"{SAMPLES}:Chooses", "--input", "float32[batch,4]"])
    assert "guessed: index with a mask" in capsys.readouterr().out
    main(["capture", f"{SAMPLES}:WithOpaque", "--input", "float32[batch,16]"])
    assert "not captured: samples.opaque.default" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([f"{SAMPLES}:build"], "takes inputs, and none are described"),
        ([f"{SAMPLES}:build", "--input", "int64[batch,seq]"], "no sequence length is given"),
        ([f"{SAMPLES}:built", "--input", "float32[batch,4]"], "has no function 'built'"),
    ],
)
def test_refusals_exit_2_with_a_hint(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["capture", *arguments])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert says in err.replace("\n", " ")
    assert "hint: " in err


def test_a_captured_model_is_planned_like_a_named_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from trainwright.jobs.job import Job, ModelChoice, Stopping, TextData
    from trainwright.jobs.model import config_of_job, spec_of_job
    from trainwright.models.catalogue import model
    from trainwright.models.file import save_model

    file = tmp_path / "mine.json"
    save_model(replace(model("gpt2"), source="captured from my.models:build"), file)
    main(["plan", str(file), "--on", "2xRTX-4090", "--batch", "16", "--seq", "512"])
    own = capsys.readouterr().out
    main(["plan", "gpt2", "--on", "2xRTX-4090", "--batch", "16", "--seq", "512"])
    assert _first_strategy(own) == _first_strategy(capsys.readouterr().out)
    job = Job(
        name="mine", model=ModelChoice(preset=str(file)), data=TextData(builtin="python-reference"), global_batch=16,
        seq=512, stopping=Stopping(steps=1),
    )  # fmt: skip
    assert config_of_job(job) == {"function": "my.models:build"}
    assert spec_of_job(job).n_parameters == model("gpt2").n_parameters


def _first_strategy(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("1 "))


def test_estimate_and_plan_take_code_as_they_take_a_models_name(capsys: pytest.CaptureFixture[str]) -> None:
    fed = ["--input", "float32[batch,4]", "--batch", "8", "--on", "2xA100-SXM-80GB"]
    main(["estimate", f"{SAMPLES}:build", *fed])
    captured = capsys.readouterr()
    assert "67 parameters), batch 8 samples" in captured.out
    assert "dp=2,micro_batch=4" in captured.err
    main(["plan", f"{SAMPLES}:build", *fed])
    assert "fastest on 2 x A100-SXM-80GB" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["estimate", f"{SAMPLES}:build", *fed[2:]])
    assert "takes inputs, and none are described" in capsys.readouterr().err
