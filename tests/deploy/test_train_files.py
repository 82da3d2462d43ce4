import json
import os
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.records.test_store import CANDIDATE, PLAN

from trainwright import api
from trainwright.errors import InvalidInputError
from trainwright.records.plan import write_plan

yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")
SCHEMAS = Path(__file__).parent / "schemas"


def problems(text: str, schema: str) -> list[str]:
    """What the published schema finds wrong; tools/published_schemas.py says where it is from."""
    checker = jsonschema.Draft202012Validator(json.loads((SCHEMAS / schema).read_text()))
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(yaml.safe_load(text))]


@pytest.fixture
def written(tmp_path: Path) -> dict[str, str]:
    plan = replace(PLAN, device_type="cuda", chosen=replace(CANDIDATE, n_processes=16, threads_per_process=4))
    folder = tmp_path / "a run"
    folder.mkdir()
    write_plan(folder, plan)
    options = api.DeployOptions(n_nodes=2, hours=3, accelerator="H100")
    return {path.name: path.read_text() for path in api.deploy(folder, tmp_path / "out", options)}


def test_every_launcher_starts_the_same_command(written: dict[str, str]) -> None:
    for name in ("train.sbatch", "pytorchjob.yaml", "sky.yaml"):
        assert "torchrun --nnodes 2 --nproc-per-node 8" in written[name]
        assert re.search(r"-m trainwright train '/.*/a run'", written[name])
        assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE" in written[name]


def test_the_slurm_script_is_bash_and_asks_for_what_the_plan_uses(written: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "s").write_text(written["train.sbatch"])
    subprocess.run(["bash", "-n", str(tmp_path / "s")], check=True)
    for line in ("--nodes=2", "--gpus-per-node=8", "--cpus-per-task=32", "--time=3:00:00"):
        assert f"#SBATCH {line}" in written["train.sbatch"]
    assert '"$head_node":29400' in written["train.sbatch"]


def test_slurm_queues_a_preempted_run_again_once_it_saved(written: dict[str, str], tmp_path: Path) -> None:
    """The script itself, with stand-ins for Slurm's commands; its srun saves at SIGTERM and ends with 1."""
    run, tools = tmp_path / "a run", tmp_path / "tools"
    tools.mkdir()
    script = tmp_path / "train.sbatch"
    script.write_text(written["train.sbatch"])
    saves = """trap 'sleep 0.5; echo "{ \\"status\\": \\"preempted\\" }" > "$RUN/run.json"; exit 1' TERM"""
    for name, body in {
        "srun": f'{saves}\ntouch "$RUN/began"\nwhile true; do sleep 0.1; done',
        "scontrol": 'if [ "$1" = requeue ]; then echo "$2" > "$RUN/requeued"; else echo n1; fi',
    }.items():
        (tools / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tools / name).chmod(0o755)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "n1",
        "RUN": str(run),
    }
    job = subprocess.Popen(["bash", str(script)], env=environment)
    deadline = time.monotonic() + 30
    while not (run / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 75
    assert (run / "requeued").read_text() == "7\n"


@pytest.mark.parametrize(
    ("name", "schema", "wrong", "found"),
    [
        (
            "pytorchjob.yaml",
            "pytorchjob.json",
            ("replicas: 1", 'replicas: "one"'),
            "replicas: 'one' is not of type",
        ),
        ("pytorchjob.yaml", "pytorchjob.json", ("mountPath:", "mount:"), "'mount' was unexpected"),
        ("pytorchjob.yaml", "pytorchjob.json", ("restartPolicy:", "restart:"), "'restart' was unexpected"),
        ("sky.yaml", "skypilot.json", ("num_nodes: 2", 'num_nodes: "2"'), "num_nodes: '2' is not of type"),
        ("sky.yaml", "skypilot.json", ("use_spot: true", "spot: true"), "'spot' was unexpected"),
        ("sky.yaml", "skypilot.json", ("mode: MOUNT", "modus: MOUNT"), "file_mounts"),
    ],
)
def test_the_files_obey_the_published_schemas(
    written: dict[str, str], name: str, schema: str, wrong: tuple[str, str], found: str
) -> None:
    assert problems(written[name], schema) == []
    assert wrong[0] in written[name]
    assert any(found in problem for problem in problems(written[name].replace(*wrong), schema))


def test_the_pytorchjob_asks_for_what_the_plan_uses(written: dict[str, str]) -> None:
    job = yaml.safe_load(written["pytorchjob.yaml"])
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert {role: spec["replicas"] for role, spec in replicas.items()} == {"Master": 1, "Worker": 1}
    assert job["spec"]["runPolicy"]["activeDeadlineSeconds"] == 3 * 3600
    for spec in replicas.values():
        container = spec["template"]["spec"]["containers"][0]
        assert container["name"] == "pytorch"
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "8"
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in spec["template"]["spec"]["volumes"]}


def test_the_sky_task_asks_for_the_accelerators(written: dict[str, str]) -> None:
    task = yaml.safe_load(written["sky.yaml"])
    assert task["num_nodes"] == 2
    assert task["resources"]["accelerators"] == "H100:8"
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75]


def test_processes_that_do_not_divide_over_nodes_are_refused(tmp_path: Path) -> None:
    write_plan(tmp_path, replace(PLAN, chosen=replace(CANDIDATE, n_processes=8)))
    with pytest.raises(InvalidInputError, match="8 processes do not divide over 3 nodes") as caught:
        api.deploy(tmp_path, tmp_path, api.DeployOptions(n_nodes=3))
    assert caught.value.hint == "use --nodes 2"
