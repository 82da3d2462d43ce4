import json
import re
from pathlib import Path

import pytest

from trainwright.cli.main import main
from trainwright.jobs.parse import load_job
from trainwright.records.plan import read_plan

ARGS = ["plan", "gpt2", "--on", "8xA100-SXM-80GB", "--steps", "1000", "--batch", "64", "--pin", "!cp,!pp,offload=none"]


def run(capsys, *args):
    main([*ARGS, *args])
    return capsys.readouterr()


def test_the_table_reads_in_100_columns_and_talk_goes_to_stderr(capsys):
    out, err = run(capsys)
    assert max(map(len, out.splitlines())) <= 100
    assert re.search(r"^1 +\S.* \d", out, re.MULTILINE)
    assert "limited by" in out
    assert "one change of the winner at a time" in out
    assert "assumed: sequences of 1024 tokens" in err


def test_json_has_parts_that_add_up_and_the_written_plan_can_be_checked_again(capsys, tmp_path):
    files = ("--output", str(tmp_path / "plan.json"), "--html", str(tmp_path / "plan.html"), "--export", str(tmp_path))
    answer = json.loads(run(capsys, "--json", *files).out)
    best = answer["ranking"][0]
    assert sum(best["time"].values()) == pytest.approx(best["step_s"])
    assert best["job_s"] == pytest.approx(1000 * best["step_s"])
    plan = read_plan(tmp_path / "plan.json")
    assert plan.chosen.step_s == best["step_s"]
    page = (tmp_path / "plan.html").read_text()
    assert page.count("<svg") >= 4
    assert not re.search(r'(src|href)="http', page)
    assert {"torchtitan.toml", "megatron.args", "deepspeed.json", "accelerate.yaml"} <= {
        p.name for p in tmp_path.iterdir()
    }
    main(["plan", str(tmp_path / "plan.json"), "--json", "--on", "8xA100-SXM-80GB"])
    again = json.loads(capsys.readouterr().out)
    assert again["n_costed"] == 1
    assert again["ranking"][0]["step_s"] == best["step_s"]


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--pin", "tp=2", "--pin", "!tp"], 2, "'tp=2' and '!tp' contradict each other"),
        (["--pin", "dp=5"], 2, "the pin 'dp=5' leaves no legal strategy on 8 devices"),
        (["--budget", "$0.01"], 3, "keeps the budget of $0.01; the closest offers are"),
        (["--strategy", "dp=8,zero=1,mb=3"], 2, "a global batch of 64 does not divide over dp 8 x micro-batch 3"),
    ],
)
def test_bad_input_ends_with_its_code_and_its_reason(capsys, extra, code, message):
    with pytest.raises(SystemExit) as end:
        run(capsys, *extra)
    assert end.value.code == code
    assert message in capsys.readouterr().err


def test_a_deadline_without_a_length_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["plan", "gpt2", "--on", "1xT4", "--deadline", "1 h"])
    assert "a deadline or budget needs to know how long the job is" in capsys.readouterr().err


def test_a_job_file_is_planned_as_it_says(capsys, tmp_path: Path):
    from importlib import resources

    text = resources.files("trainwright.jobs").joinpath("data/example.toml").read_text()
    (tmp_path / "job.toml").write_text(text)
    main(["plan", str(tmp_path / "job.toml"), "--on", "1xRTX-4090", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["global_batch"] == load_job(tmp_path / "job.toml").global_batch
    assert answer["aim"]["n_steps"] > 0
