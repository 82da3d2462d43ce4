"""Strategies that cannot be carried out say why, with what would work; none starts a process to find out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.plans import LLAMA, tiny_job
from torch import nn

from trainwright.errors import CheckpointError, InvalidInputError, TrainwrightError
from trainwright.jobs.job import OptimizerSettings, SyncSettings
from trainwright.jobs.strategy import Strategy
from trainwright.records.lock import only_run_in
from trainwright.runtime.checkpoint import Content, Piece, Shelf, load_pieces, newest_checkpoint, save_checkpoint
from trainwright.runtime.compiling import compile_blocks
from trainwright.runtime.context import divide_attention, stretch
from trainwright.runtime.device import device_of
from trainwright.runtime.expert import divide_experts
from trainwright.runtime.fp8 import use_eight_bits
from trainwright.runtime.mesh import Mesh, make_mesh
from trainwright.runtime.model import build_model
from trainwright.runtime.pipeline import make_pipeline
from trainwright.runtime.place import Place
from trainwright.runtime.portion import check_batch
from trainwright.runtime.precision import precision
from trainwright.runtime.recompute import blocks_of, recompute_blocks
from trainwright.runtime.shard import Sharded, shard_model
from trainwright.runtime.share import whole
from trainwright.runtime.stage import cut_model, stage_ranges
from trainwright.runtime.tensor import divide
from trainwright.runtime.tensorplan import tensor_plan
from trainwright.train.optimizer import make_optimizer, refuse_parts
from trainwright.train.work import sync_of


class Plain(nn.Module):
    """A model without blocks or plans."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return ids * self.scale


def not_a_module() -> Any:
    return 7


def llama(**changes: Any) -> Any:
    return build_model({**LLAMA, **changes}, 0)


def two(axis: Any) -> Mesh:
    return Mesh(sizes={axis: 2}, indexes={axis: 0})


def divided() -> Sharded:
    return shard_model(llama(num_hidden_layers=1, vocab_size=8), Strategy(tp=2, precision="fp32"), two("tp"))


def nothing_moves() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1)])


REFUSALS = {
    "processes": (
        lambda: make_mesh(Strategy(dp=2, tp=2), Place()),
        r"the strategy \(tp 2 x rep 2\) is for 4 processes and there are 1",
    ),
    "shard": (
        lambda: make_mesh(Strategy(dp=6, zero_stage=3, shard=4), Place()),
        "dp 6 does not divide into groups of 4",
    ),
    "heads": (lambda: divide(llama(), None, 0, 4), "tp 4 does not divide the model's 2 key value heads"),
    "no plan": (lambda: tensor_plan(Plain()), "there is no tensor plan for Plain"),
    "blocks": (lambda: blocks_of(Plain()), "Plain has no repeated blocks"),
    "positions": (lambda: divide_attention(Plain(), None, 0, 2, "ring"), "does not know the positions of Plain"),
    "cp heads": (lambda: divide_attention(llama(), None, 0, 4, "all_to_all"), "does not divide the model's 2 key and"),
    "stretches": (lambda: stretch(torch.zeros(2, 9), 0, 2), "sequences of 9 do not divide over cp 2"),
    "no experts": (lambda: divide_experts(llama(), {}, None, 0, 2), "has no experts to divide over ep 2"),
    "experts": (
        lambda: divide_experts(llama(model_type="mixtral", num_local_experts=3), {}, None, 0, 2),
        "ep 2 does not divide the model's 3 experts",
    ),
    "stages": (
        lambda: make_pipeline(llama(), Strategy(pp=2, virtual_stages=2), two("pp")),
        "4 pipeline stages are more",
    ),
    "sizes": (lambda: stage_ranges(4, 2, (1, 2)), "stages of 1, 2 blocks do not make 2 stages of 4 blocks"),
    "ends": (
        lambda: cut_model(llama(model_type="gpt_neox"), [0], stage_ranges(2, 2, None)),
        "does not know where GPTNeoXForCausalLM begins and ends: it has no model.embed_tokens",
    ),
    "offload": (
        lambda: shard_model(llama(), Strategy(offload="parameters"), Mesh(sizes={}, indexes={})),
        "offload of parameters needs them sharded, and zero_stage is 0",
    ),
    "offloaded experts": (
        lambda: shard_model(
            llama(), Strategy(dp=2, ep=2, zero_stage=3, offload="parameters"), Mesh(sizes={}, indexes={})
        ),
        "offload of parameters does not go with experts divided over ep",
    ),
    "compiled": (lambda: compile_blocks(llama(), Strategy(tp=2)), "compile does not go with tp: its blocks hold"),
    "no GPU": (lambda: device_of("cuda", 64), "process 64 of this machine finds [0-9]+ that torch can use"),
    "odd for fp8": (lambda: use_eight_bits(llama(hidden_size=24)), "fp8 finds no linear layer in the blocks of Llama"),
    "precision": (lambda: precision("fp8"), "precision fp8 does not run on cpu: its matrix products need a GPU"),
    "tf32": (lambda: precision("tf32"), "precision tf32 does not run on cpu: it is a mode of NVIDIA's tensor cores"),
    "muon": (lambda: make_optimizer([], OptimizerSettings(name="muon")), "muon moves matrices inside blocks"),
    "parts": (
        lambda: refuse_parts(OptimizerSettings(name="adafactor"), divided()),
        "adafactor looks at whole matrices, and this strategy divides 9 of them",
    ),
    "portions": (
        lambda: check_batch(Strategy(dp=2, samples=(6, 3)), 8),
        "samples of 6, 3 are not the 2 portions of a global batch of 8",
    ),
    "bubble": (
        lambda: check_batch(Strategy(dp=2, pp=2, micro_batch=2), 4),
        "schedule 1f1b needs as many micro-batches as the pipeline has stages, 2, and a replica has 1",
    ),
    "shared experts": (lambda: check_batch(Strategy(dp=2, ep=2, samples=(6, 2)), 8), "replicas that share experts"),
    "pieces": (
        lambda: check_batch(Strategy(dp=2, zero_stage=3, micro_batch=2, samples=(6, 2)), 8),
        "samples of 6, 2 do not divide into micro-batches of at most 2, as many for each replica",
    ),
    "fp16 apart": (
        lambda: sync_of(tiny_job(sync=SyncSettings(mode="diloco")), divided(), nothing_moves(), "fp16"),
        "fp16 scales the loss of all replicas together, and sync.mode is diloco",
    ),
    "kind": (lambda: llama(model_type="lama"), "cannot build a language model of type 'lama'"),
    "import": (lambda: build_model({"function": "nowhere:model"}, 0), "there is no module 'nowhere'"),
    "function": (lambda: build_model({"function": f"{__name__}:not_a_module"}, 0), "returned int, not an nn.Module"),
    "folder": (lambda: only_run_in(Path("/proc/1")).__enter__(), "cannot write in /proc/1"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_is_refused(case: str) -> None:
    action, message = REFUSALS[case]
    with pytest.raises(TrainwrightError, match=message) as caught:
        action()
    assert isinstance(caught.value, InvalidInputError)
    assert caught.value.hint


def test_a_tensor_plan_in_unknown_words_is_refused() -> None:
    model: Any = Plain()
    model.tensor_plan = {"layers.*.q": "sideways"}
    with pytest.raises(InvalidInputError, match="the tensor plan of Plain uses sideways, which is not known here"):
        tensor_plan(model)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    saved = torch.arange(6.0).view(2, 3)
    content = Content(step=1, pieces={"weights/a": Piece(saved, whole((2, 3)))}, state={})
    save_checkpoint(Shelf(folder=tmp_path, place=Place(), keep=1), content)
    checkpoint = newest_checkpoint(tmp_path, Place(), lambda _note: None)
    assert checkpoint is not None
    for name, shape in (("weights/a", (3, 2)), ("weights/b", (2, 3))):
        with pytest.raises(CheckpointError, match=f"is of another model: {name} is"):
            load_pieces(checkpoint, {name: Piece(torch.zeros(shape), whole(shape))})
    again = torch.zeros(2, 3)
    load_pieces(checkpoint, {"weights/a": Piece(again, whole((2, 3)))})
    assert torch.equal(again, saved)


@pytest.mark.parametrize("how", ["full", "selective"])
def test_recomputation_changes_no_bit(how: Any) -> None:
    ids = torch.arange(32).view(2, 16)
    gradients = []
    for choice in ("none", how):
        model = llama()
        recompute_blocks(model, choice)
        model(input_ids=ids, use_cache=False).logits.square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
