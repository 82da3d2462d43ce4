import json

import pytest

from trainwright.cli.main import main

ARGS = ["plan", "llama-3-8b", "--on", "2xH100-SXM", "--serve", "prompt=1k,output=100,rate=5,tpot=50ms"]


def test_the_tables_read_in_100_columns(capsys):
    main(ARGS)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert "llama-3-8b served by vllm: 1000+100 tokens, 5 requests/s, tpot at most 50.0 ms" in out
    assert "one change of the winner at a time" in out


def test_json_and_the_written_plan_are_the_same_and_add_up(capsys, tmp_path):
    files = ["--output", str(tmp_path / "plan.json"), "--html", str(tmp_path / "plan.html"), "--export", str(tmp_path)]
    main([*ARGS, "--json", *files])
    answer = json.loads(capsys.readouterr().out)
    best = answer["ranking"][0]
    assert sum(best["parts_s"].values()) == pytest.approx(best["tpot_s"])
    assert best["tokens_per_s"] == pytest.approx(500)
    assert json.loads((tmp_path / "plan.json").read_text())["ranking"] == answer["ranking"]
    page = (tmp_path / "plan.html").read_text()
    assert page.count("<svg") >= 5
    assert 'src="http' not in page
    assert (tmp_path / "vllm.sh").read_text().startswith("#!/bin/sh")


def test_estimate_prices_one_replica_part_by_part(capsys):
    main(["estimate", "llama-3-8b", "--on", "2xH100-SXM", "--serve", "prompt=1k,output=100", "--strategy", "tp=2"])
    out = capsys.readouterr().out
    assert "memory of a device" in out
    assert "exchanges between devices" in out
    main(["estimate", "gpt2", "--on", "1xT4", "--serve", "prompt=100,output=100", "--json"])
    assert json.loads(capsys.readouterr().out)["objective"] == "serve"


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--tokens", "3B"], 2, "--tokens is for training, and this job serves"),
        (["--stack", "vlm"], 2, "unknown serving stack 'vlm'"),
        (["--serve", "prompt=1k,output=100,rate=5000"], 3, "devices like these would carry 5000 requests/s"),
    ],
)
def test_bad_input_ends_with_its_code_and_its_reason(capsys, extra, code, message):
    with pytest.raises(SystemExit) as end:
        main([*ARGS, *extra])
    assert end.value.code == code
    assert message in capsys.readouterr().err
