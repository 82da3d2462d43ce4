"""Every division of a step gives the losses, gradients, gradient norm and (with SGD) weights of one process."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from trainwright.runtime.launch import Orders, launch

KINDS = ("llama", "gpt2", "mixtral", "qwen3", "bert", "vit")
TWO: dict[str, Any] = {
    **{f"{kind} dp2 accumulating": (kind, {"dp": 2, "micro_batch": 2}) for kind in KINDS},
    **{f"{kind} tp2": (kind, {"tp": 2, "micro_batch": 4}) for kind in KINDS},
    **{
        f"{kind} tp2 sp": (kind, {"tp": 2, "micro_batch": 4, "sequence_parallel": True})
        for kind in KINDS
        if kind != "vit"
    },
    **{
        f"{kind} zero{stage}": (kind, {"dp": 2, "micro_batch": 2, "zero_stage": stage})
        for kind, stage in product(("llama", "gpt2", "mixtral", "bert", "vit"), (1, 2, 3))
    },
    **{
        f"{kind} cp2 {way}": (kind, {"cp": 2, "micro_batch": 4, "cp_kind": way})
        for kind, way in product(("llama", "gpt2", "mixtral", "qwen3", "bert"), ("ring", "all_to_all"))
    },
    "mixtral ep2": ("mixtral", {"dp": 2, "ep": 2, "micro_batch": 2}),
    "llama tp2 full": ("llama", {"tp": 2, "micro_batch": 8, "recompute": "full"}),
    "llama tp2 sp selective": (
        "llama",
        {"tp": 2, "micro_batch": 8, "recompute": "selective", "sequence_parallel": True, "recompute_every": 2},
    ),
}


def check(folder: Path, n_processes: int, cases: dict[str, Any]) -> None:
    (folder / "cases.json").write_text(json.dumps(cases))
    names: list[str] = []
    orders = Orders(module="tests.runtime.cases", folder=folder, n_processes=n_processes, n_threads=1)
    try:
        found = launch(orders, names.append)
    except Exception as error:
        raise AssertionError(f"in case {names[-1] if names else 'none'}") from error
    wrong = {
        name: differences
        for name, differences in found.items()
        if differences["losses"] > 2e-6
        or differences["norms"] > 2e-5
        or differences["gradients"] > 1e-6
        or differences["weights"] > 5e-6
        or not differences["n_gradients"]
    }
    assert not wrong, json.dumps(wrong, indent=1)
    assert found.keys() == cases.keys()


@pytest.mark.distributed
@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    check(tmp_path, 2, TWO)
