"""A Kubeflow PyTorchJob (kubeflow.org/v1): one pod a node, each a torchrun agent."""

from __future__ import annotations

from trainwright.deploy.target import Target, filled

_JOB = """apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata:
  name: $safe_name
spec:
  nprocPerNode: "$processes_per_node"
  runPolicy:
    activeDeadlineSeconds: $seconds
    backoffLimit: 10
    cleanPodPolicy: Running
  pytorchReplicaSpecs:
$replicas"""

_REPLICA = """    $role:
      replicas: $count
      # OnFailure also starts a preempted run (exit code 75) again, where ExitCode would call it failed.
      restartPolicy: OnFailure
      template:
        spec:
          terminationGracePeriodSeconds: 300
          containers:
            - name: pytorch
              image: $image
              command: ["bash", "-c"]
              args:
                - $command
              env:
                - name: TORCH_DISABLE_SHARE_RDZV_TCP_STORE
                  value: "1"
                - name: TORCH_ELASTIC_SHUTDOWN_TIMEOUT
                  value: "240"
                - name: OMP_NUM_THREADS
                  value: "$threads_per_process"
              resources:
                limits:
                  cpu: "$cpus_per_node"
$gpu_line              volumeMounts:
                - name: run
                  mountPath: $folder
                - name: shared-memory
                  mountPath: /dev/shm
          volumes:
            - name: run
              persistentVolumeClaim:
                claimName: $safe_name
            - name: shared-memory
              emptyDir:
                medium: Memory
"""


def kubernetes_files(target: Target) -> dict[str, str]:
    """The files to write, by name. The run folder is a volume claim named as the job."""
    roles = [("Master", 1)] + ([("Worker", target.n_nodes - 1)] if target.n_nodes > 1 else [])
    gpu_line = f'                  nvidia.com/gpu: "{target.gpus_per_node}"\n' if target.gpus_per_node else ""
    replica = _REPLICA.replace("$gpu_line", gpu_line)
    replicas = "".join(replica.replace("$role", role).replace("$count", str(count)) for role, count in roles)
    job = _JOB.replace("$replicas", replicas).replace("$seconds", str(target.hours * 3600))
    return {"pytorchjob.yaml": filled(job, target, "$(MASTER_ADDR)")}
