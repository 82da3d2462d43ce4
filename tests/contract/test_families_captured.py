"""Named families agree with their captured selves: parameters, FLOP, kept bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from tests.models.test_against_torch import FAMILIES, LARGER

from trainwright.capture.huggingface import capture_config
from trainwright.models.build import build
from trainwright.models.catalogue import shape_of
from trainwright.models.flop import backward_flop, forward_flop
from trainwright.models.huggingface import huggingface_config
from trainwright.models.saved import FP32, op_saved_bytes
from trainwright.models.spec import ModelSpec


def saved_bytes(spec: ModelSpec, batch: int, seq: int) -> float:
    return sum(op_saved_bytes(op, batch, seq, FP32) * block.repeats for block in spec.blocks for op in block.ops)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_named_family_is_what_capture_finds(family: str, tmp_path: Path) -> None:
    shape = shape_of({"family": family, **LARGER, **FAMILIES[family]})
    (tmp_path / "config.json").write_text(json.dumps(huggingface_config(shape)))
    named, found = build(shape), capture_config(tmp_path, batch=2, seq=64).spec
    assert found.n_parameters == named.n_parameters
    for batch, seq in ((2, 64), (5, 64), (3, 48)):
        assert forward_flop(found, batch, seq) == pytest.approx(forward_flop(named, batch, seq), rel=0.005)
        assert backward_flop(found, batch, seq) == pytest.approx(backward_flop(named, batch, seq), rel=0.005)
        assert saved_bytes(found, batch, seq) == pytest.approx(saved_bytes(named, batch, seq), rel=0.03)
