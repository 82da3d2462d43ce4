"""An sbatch script: one torchrun agent on each node."""

from __future__ import annotations

from trainwright.deploy.target import Target, filled

_SCRIPT = """#!/usr/bin/env bash
#SBATCH --job-name=$safe_name
#SBATCH --nodes=$n_nodes
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=$cpus_per_node
$gpu_line#SBATCH --time=$hours:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --output=$quoted_folder/slurm-%j.log

# A preempted run saves itself and says so in run.json (torchrun makes every exit code 1): then it is queued again.
set -u
begun=$$(mktemp)
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 TORCH_ELASTIC_SHUTDOWN_TIMEOUT=240 OMP_NUM_THREADS=$threads_per_process
head_node=$$(scontrol show hostnames "$$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 $command &
child=$$!
trap 'kill -TERM "$$child"' TERM
status=1
while kill -0 "$$child" 2>/dev/null; do wait "$$child"; status=$$?; done
record=$quoted_folder/run.json
if [ "$$record" -nt "$$begun" ] && grep -q '"status": "preempted"' "$$record"; then
  status=75
  scontrol requeue "$$SLURM_JOB_ID"
fi
exit "$$status"
"""


def slurm_files(target: Target) -> dict[str, str]:
    """The files to write, by name."""
    gpu_line = f"#SBATCH --gpus-per-node={target.gpus_per_node}\n" if target.gpus_per_node else ""
    return {"train.sbatch": filled(_SCRIPT.replace("$gpu_line", gpu_line), target, '"$head_node"')}
