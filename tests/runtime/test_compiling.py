from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.plans import LLAMA

from trainwright.jobs.strategy import Strategy
from trainwright.runtime.compiling import compile_blocks
from trainwright.runtime.mesh import Mesh
from trainwright.runtime.model import build_model
from trainwright.runtime.precision import precision
from trainwright.runtime.shard import shard_model
from trainwright.runtime.verify import roughen


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_compiled_blocks_give_the_gradients_of_eager_ones_and_are_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    ids = torch.arange(32).view(2, 16)
    found: list[tuple[float, dict[str, Any]]] = []
    for compiled in (False, True):
        strategy = Strategy(precision="fp32", recompute="full" if compiled else "none")
        model = roughen(build_model(LLAMA, 0))
        if compiled:
            compile_blocks(model, strategy)
        sharded = shard_model(model, strategy, Mesh(sizes={}, indexes={}))
        loss = sharded.gradients([(ids, ids)], 1 / 32, precision("fp32"), lambda _part: None)
        found.append((float(loss), {name: p.grad for name, p in sharded.local.items()}))
    (eager, wanted), (loss, gradients) = found
    assert loss == pytest.approx(eager, abs=1e-6)
    assert max(float((gradients[name] - wanted[name]).abs().max()) for name in wanted) < 1e-6
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2  # one for all blocks, once more to recompute
