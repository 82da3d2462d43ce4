from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.plans import LLAMA, tiny_job, tiny_plan
from torch import nn

from trainwright.errors import InvalidInputError, NumericsError
from trainwright.jobs.inputs import parse_input
from trainwright.jobs.strategy import Strategy
from trainwright.runtime.model import build_model
from trainwright.runtime.verify import tiny, verify_plan

QWEN3: dict[str, Any] = {**LLAMA, "model_type": "qwen3", "head_dim": 8}


def forgetful() -> nn.Module:
    """Its tensor plan forgets that norms on divided heads have partial gradients: losses stay right."""
    model: Any = build_model(QWEN3, 0)
    model.tensor_plan = {name: style for name, style in model._tp_plan.items() if not name.endswith("_norm")}
    return model  # type: ignore[no-any-return]


class Coupled(nn.Module):
    """Takes the mean of the batch from every row: what one row gives depends on its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(64, 16), nn.Linear(16, 64)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.embed(ids)
        logits: torch.Tensor = self.head(hidden - hidden.mean(dim=0))
        return logits


class Own(nn.Module):
    """Computes its own loss over rows of eight numbers: their mean, or with ``between`` one row against the others."""

    def __init__(self, *, between: bool = False) -> None:
        super().__init__()
        self.between, self.layer, self.drop, self.norm = between, nn.Linear(8, 6), nn.Dropout(0.5), nn.BatchNorm1d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.norm(self.drop(self.layer(x)))
        wanted = torch.arange(len(x)) if self.between else torch.zeros(len(x), dtype=torch.int64)
        return nn.functional.cross_entropy(made @ made.T if self.between else made, wanted)


def between() -> nn.Module:
    return Own(between=True)


@pytest.mark.distributed
@pytest.mark.usefixtures("forked_workers")
def test_a_module_with_its_own_loss_is_held_against_one_process_too(tmp_path: Path) -> None:
    two = Strategy(dp=2, micro_batch=4, precision="fp32")

    def plan(name: str, *inputs: str) -> Path:
        job = tiny_job(example=tuple(map(parse_input, inputs or ("float32[batch,8]",))))
        return tiny_plan(
            tmp_path / name, job=job, strategy=two, model={"function": f"tests.runtime.test_verify:{name}"}
        )

    assert verify_plan(plan("Own")).gradients < 1e-6
    with pytest.raises(NumericsError, match="losses differ by") as caught:
        verify_plan(plan("between"))
    assert "couples the rows of its batch" in str(caught.value.hint)
    assert '--strategy "dp=1,micro_batch=8" keeps it whole' in str(caught.value.hint)
    with pytest.raises(InvalidInputError, match=r"an input of 2\*batch, 8 cannot be cut into rows"):
        verify_plan(plan("Own", "float32[2*batch,8]"))


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_a_good_plan_is_exact_and_a_forgetful_one_is_caught(tmp_path: Path) -> None:
    tp2 = Strategy(tp=2, micro_batch=4, precision="bf16")
    found = verify_plan(tiny_plan(tmp_path / "good", strategy=tp2, model={**LLAMA, "num_hidden_layers": 40}))
    assert found.gradients < 1e-6
    wrong = tiny_plan(tmp_path / "wrong", strategy=tp2, model={"function": "tests.runtime.test_verify:forgetful"})
    with pytest.raises(NumericsError, match=r"the gradient of model\.layers\.\d\.self_attn\.[qk]_norm\.weight by"):
        verify_plan(wrong)
    coupled = {"function": "tests.runtime.test_verify:Coupled"}
    dp2 = tiny_plan(tmp_path / "coupled", strategy=Strategy(dp=2, micro_batch=4, precision="fp32"), model=coupled)
    with pytest.raises(NumericsError, match=r"losses differ by 0\.\d+.*rounding explains 1e-05"):
        verify_plan(dp2)


def test_a_tiny_model_keeps_heads_and_experts() -> None:
    config = {**LLAMA, "num_local_experts": 8, "attention_dropout": 0.1, "eos_token_id": 255}
    small = tiny(config, Strategy(pp=2, virtual_stages=2))
    assert small["num_hidden_layers"] == 4
    assert (small["num_local_experts"], small["num_key_value_heads"], small["attention_dropout"]) == (8, 2, 0.0)
    assert (small["vocab_size"], small["eos_token_id"], small["hidden_size"]) == (101, 0, 32)
