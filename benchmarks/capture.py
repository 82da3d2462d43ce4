"""How long `trainwright capture` takes, imports included, and how much memory: the whole command, best of three.

PYTHONPATH=src:. OMP_NUM_THREADS=1 python benchmarks/capture.py [--repeat N]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GIB = 2**30
MOST_BYTES = 2 * GIB
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 8192, "rope_theta": 500000.0, "tie_word_embeddings": False, "num_key_value_heads": 8,
}  # fmt: skip
CONFIGS = {
    "resnet-50": {
        "architectures": ["ResNetForImageClassification"], "model_type": "resnet", "layer_type": "bottleneck",
        "depths": [3, 4, 6, 3], "hidden_sizes": [256, 512, 1024, 2048], "embedding_size": 64,
    },
    "llama-3-8b": LLAMA | {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    },
    "llama-3-405b": LLAMA | {
        "hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126, "num_attention_heads": 128,
    },
}  # fmt: skip
PICTURES = ("--input", "float32[batch,3,224,224]")
TEXT = ("--seq", "4096", "--batch", "1")
CASES = (
    ("ResNet-50, plain torch", "benchmarks/zoo/resnet.py:resnet50", (*PICTURES, "--batch", "32"), 3.0),
    ("ResNet-50, config", "resnet-50", ("--batch", "32"), 3.0),
    ("Llama-3-8B", "llama-3-8b", TEXT, 5.0),
    ("Llama-3-405B", "llama-3-405b", TEXT, 15.0),
)  # fmt: skip


def run(command: list[str]) -> tuple[float, int]:
    """(seconds, most resident bytes) of a command; its output is thrown away."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - begin, usage.ru_maxrss * 1024


def main() -> None:
    """Print a line for each model beside its mark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        for name, config in CONFIGS.items():
            (Path(folder) / name).mkdir()
            (Path(folder) / name / "config.json").write_text(json.dumps(config))
        for name, source, options, mark_s in CASES:
            place = source if ":" in source else str(Path(folder) / source)
            found = [run([sys.executable, "-m", "trainwright", "capture", place, *options]) for _ in range(repeat)]
            seconds, most = min(s for s, _ in found), max(b for _, b in found)
            kept = "within" if seconds <= mark_s and most <= MOST_BYTES else "above"
            print(f"{name:24} {seconds:6.2f} s, mark {mark_s:g} s; {most / 2**20:6.0f} MiB, mark 2 GiB: {kept}")


if __name__ == "__main__":
    main()
