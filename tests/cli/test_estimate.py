import json

import pytest
from click.testing import CliRunner

from trainwright.cli.main import main, trainwright_group

SPLIT = ["--on", "8xH100-SXM", "--strategy", "dp=8,zero=3,recompute=full", "--stack", "torchtitan", "--batch", "64"]


def run(*args: str) -> str:
    result = CliRunner().invoke(trainwright_group, list(args), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_text_answers_time_memory_energy_money_and_fit() -> None:
    text = run("estimate", "llama-3-8b", *SPLIT, "--tokens", "1B", "--rule-of-thumb")
    for word in (
        "step",
        "MFU",
        "fits      yes",
        "kWh",
        "a step",
        "job",
        "recompute",
        "activations",
        "rule of thumb",
        "6ND",
    ):
        assert word in text, word


def test_json_parts_add_up() -> None:
    found = json.loads(run("estimate", "llama-3-8b", *SPLIT, "--json"))
    assert found["step_s"] == pytest.approx(sum(found["time"].values()))
    assert found["step_interval_s"][0] < found["step_s"] < found["step_interval_s"][1]
    assert found["fits"] == "yes"
    assert 0.2 < found["mfu"] < found["hfu"] < 0.7
    assert set(found["sources"]) >= set(found["time"])


def test_an_impossible_split_names_the_rule_and_what_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["estimate", "gpt3-175b", "--on", "8xA100-SXM-80GB", "--strategy", "tp=7", "--batch", "8"])
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert "tp 7: 96 heads do not divide" in told
    assert "nearest that would do is tp=8" in told


def test_a_path_that_is_not_there_is_no_model_and_an_assumed_batch_is_shared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["estimate", "./nowhere", "--on", "3xRTX-4090"])
    assert (stop.value.code, "there is no ./nowhere" in capsys.readouterr().err) == (2, True)
    main(["estimate", "gpt2", "--on", "3xRTX-4090"])
    assert "rather 1023, which 3 devices share evenly" in capsys.readouterr().err


def test_what_is_legal_and_seldom_meant_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    main(["estimate", "gpt3-175b", "--on", "4 x 8xA100-SXM-80GB", "--strategy", "tp=16", "--batch", "8"])
    told = capsys.readouterr().err
    assert "uses 16 of 32 devices" in told
    assert "tp 16 crosses nodes of 8 devices" in told


def test_too_much_memory_is_a_no_and_little_that_is_trained_a_yes(capsys: pytest.CaptureFixture[str]) -> None:
    card = ["estimate", "llama-2-7b", "--on", "1xRTX-4090", "--stack", "litgpt", "--batch", "1", "--seq", "512"]
    every, lora, qlora = (json.loads(run(*card, *extra, "--json")) for extra in ((), ("--lora", "8"), ("--qlora", "8")))
    assert (every["fits"], qlora["fits"]) == ("no", "yes")
    assert qlora["memory"]["parameters"] < 0.4 * lora["memory"]["parameters"] < 0.4 * 13.0 * 2**30
    assert qlora["step_s"] > lora["step_s"]  # weights of 4 bits are made wide for every product
    for wrong, said in ((["--lora", "8", "--qlora", "8"], "two ways"), (["--lora", "0"], "rank 0 are none")):
        with pytest.raises(SystemExit) as stop:
            main([*card, *wrong])
        assert (stop.value.code, said in capsys.readouterr().err) == (2, True)


def test_cite_lists_every_part() -> None:
    cited = json.loads(run("cite", "--json"))
    assert "bubble" in cited["parts"]
    assert "torchtitan" in cited["stacks"]
    assert "arXiv:1910.02054" in run("cite")
