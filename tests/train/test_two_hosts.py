"""Two hosts, each a network namespace with an address of its own, one torchrun agent on each."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.train.plans import tiny_plan
from tests.train.test_elastic import SCRIPT
from tests.train.test_resume import outcome

from trainwright.jobs.strategy import Strategy
from trainwright.records.run import read_run
from trainwright.train.run import run_plan

HOSTS = {"tw-a": "10.199.0.1", "tw-b": "10.199.0.2"}


def ip(*words: str) -> bool:
    try:
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two namespaces joined by a virtual cable; skips where they cannot be made."""
    made = all(ip("netns", "add", name) for name in HOSTS)
    made = made and ip(
        "link", "add", "tw-a0", "netns", "tw-a", "type", "veth", "peer", "name", "tw-b0", "netns", "tw-b"
    )
    for name, address in HOSTS.items():
        made = made and ip("-n", name, "addr", "add", f"{address}/24", "dev", f"{name}0")
        made = made and ip("-n", name, "link", "set", f"{name}0", "up")
        made = made and ip("-n", name, "link", "set", "lo", "up")
    try:
        if not made:
            pytest.skip("network namespaces cannot be made here (needs root and iproute2)")
        yield list(HOSTS)
    finally:
        for name in HOSTS:
            ip("netns", "del", name)


@pytest.mark.distributed
@pytest.mark.slow
def test_two_hosts_train_as_one_machine_does(tmp_path: Path, hosts: list[str]) -> None:
    dp2 = Strategy(dp=2, micro_batch=4, precision="fp32")
    alone, folder = tiny_plan(tmp_path / "alone", strategy=dp2), tiny_plan(tmp_path / "apart", strategy=dp2)
    run_plan(alone)
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"

    def agent(host: str) -> subprocess.Popen[str]:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{HOSTS['tw-a']}:29400", "--rdzv-id", "two"]
        torchrun += ["--local-addr", HOSTS[host], "--rdzv-conf", f"is_host={str(host == 'tw-a').lower()}"]
        command = ["ip", "netns", "exec", host, *torchrun, str(script), str(folder)]
        env = {**environment, "GLOO_SOCKET_IFNAME": f"{host}0"}
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    agents = [agent(host) for host in hosts]
    try:
        outputs = [process.communicate(timeout=150)[0] for process in agents]
    finally:
        for process in agents:
            process.kill()
    assert [process.returncode for process in agents] == [0, 0], outputs
    assert read_run(folder).status == "finished"
    assert outcome(folder) == outcome(alone)
