"""A SkyPilot task: the same command on rented nodes, taken up again after a preemption."""

from __future__ import annotations

from trainwright.deploy.target import Target, filled

_TASK = """name: $safe_name
num_nodes: $n_nodes
resources:
$accelerators  image_id: docker:$image
  use_spot: true
  job_recovery:
    strategy: FAILOVER
    # 75: preempted, saved, run me again.
    recover_on_exit_codes: [75]
file_mounts:
  $folder:
    name: $safe_name
    mode: MOUNT
envs:
  TORCH_DISABLE_SHARE_RDZV_TCP_STORE: "1"
  TORCH_ELASTIC_SHUTDOWN_TIMEOUT: "240"
  OMP_NUM_THREADS: "$threads_per_process"
run: |
  head_node=$$(echo "$$SKYPILOT_NODE_IPS" | head -n 1)
  begun=$$(mktemp)
  $command
  status=$$?
  # torchrun makes every exit code 1; run.json says whether the run was preempted and saved.
  record=$quoted_folder/run.json
  if [ "$$record" -nt "$$begun" ] && grep -q '"status": "preempted"' "$$record"; then status=75; fi
  exit "$$status"
"""


def sky_files(target: Target, accelerator: str | None) -> dict[str, str]:
    """The files to write, by name; ``accelerator`` is SkyPilot's own name for the device, such as H100."""
    line = f"  cpus: {target.cpus_per_node}+\n"
    if target.gpus_per_node and accelerator:
        line = f"  accelerators: {accelerator}:{target.gpus_per_node}\n"
    return {"sky.yaml": filled(_TASK.replace("$accelerators", line), target, '"$head_node"')}
