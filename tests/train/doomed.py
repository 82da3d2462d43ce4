"""A model that brings misfortune to its process, as the file MISFORTUNE in the folder of the test says."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tests.train.plans import LLAMA
from torch import nn

from trainwright.runtime.model import build_model


def model() -> nn.Module:
    """A tiny Llama; at the ``call``-th forward on ``rank`` the misfortune happens, once."""
    llama = build_model(LLAMA, 0)
    calls: list[int] = []

    def count(_module: nn.Module, _args: Any) -> None:
        calls.append(1)
        plan = Path(os.environ["MISFORTUNE"])
        if not plan.exists() or not dist.is_initialized():
            return
        what = json.loads(plan.read_text())
        if len(calls) == what["call"] and dist.get_rank() == what["rank"]:
            if not what.get("again"):
                plan.unlink()
            happen(what["kind"])

    llama.register_forward_pre_hook(count)
    return llama


POISON = 127
"""A token (the character DEL) that no text of the tests has, but those that are to fail."""


def allergic() -> nn.Module:
    """A tiny Llama whose logits are Inf wherever the input has POISON."""
    llama = build_model(LLAMA, 0)

    def swell(_module: nn.Module, _args: Any, given: dict[str, Any], output: Any) -> None:
        output.logits = output.logits / (given["input_ids"] != POISON)[..., None]

    llama.register_forward_hook(swell, with_kwargs=True)
    return llama


def happen(kind: str) -> None:
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "hang":
        time.sleep(3600)
    elif kind == "exit":
        os._exit(0)
    elif kind == "raise":
        raise RuntimeError("the sky fell")
    elif kind == "out of memory":
        torch.empty(2**50)
    elif kind == "kill node":
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "kill launcher":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    else:
        os.kill(os.getppid(), getattr(signal, kind))
        time.sleep(0.5)
