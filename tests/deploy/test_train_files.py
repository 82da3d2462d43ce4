import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.records.test_store import CANDIDATE, PLAN

from trainwright import api
from trainwright.errors import InvalidInputError
from trainwright.records.plan import write_plan

yaml = pytest.importorskip("yaml")


@pytest.fixture
def written(tmp_path: Path) -> dict[str, str]:
    plan = replace(PLAN, device_type="cuda", chosen=replace(CANDIDATE, n_processes=16, threads_per_process=4))
    write_plan(tmp_path, plan)
    options = api.DeployOptions(n_nodes=2, hours=3, accelerator="H100")
    return {path.name: path.read_text() for path in api.deploy(tmp_path, tmp_path / "out", options)}


def test_every_launcher_starts_the_same_command(written: dict[str, str]) -> None:
    for name in ("train.sbatch", "pytorchjob.yaml", "sky.yaml"):
        assert "torchrun --nnodes 2 --nproc-per-node 8" in written[name]
        assert "-m trainwright train /" in written[name]
        assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE" in written[name]


def test_the_slurm_script_is_bash_and_asks_for_what_the_plan_uses(written: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "s").write_text(written["train.sbatch"])
    subprocess.run(["bash", "-n", str(tmp_path / "s")], check=True)
    for line in ("--nodes=2", "--gpus-per-node=8", "--cpus-per-task=32", "--time=3:00:00"):
        assert f"#SBATCH {line}" in written["train.sbatch"]
    assert '"$head_node":29400' in written["train.sbatch"]


def test_the_pytorchjob_has_what_its_schema_requires(written: dict[str, str]) -> None:
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
