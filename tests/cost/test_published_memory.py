"""Published peaks as rows tell them: what was read, what the software kept, and whether it fitted."""

from __future__ import annotations

from typing import Any

import pytest

from trainwright.cost.published.case import Case, case_of
from trainwright.cost.published.row import COLUMNS, Row
from trainwright.cost.validate_memory import validate_memory

BLANK = dict.fromkeys(COLUMNS, "")
GPT_6B: dict[str, str] = {
    "source": "Zero Bubble Pipeline Parallelism paper Table 4", "model_name": "GPT-3 style 6.2B", "arch": "gpt",
    "layers": "30", "hidden": "4096", "heads": "32", "vocab": "51200", "seq_len": "1024", "gpu": "A100-SXM4-80GB",
    "gpus": "8", "tp": "1", "pp": "8", "micro_batch": "3", "global_batch": "72", "recompute": "none",
    "framework": "Megatron-LM fork", "step_time_s": "2.5",
}  # fmt: skip
LLAMA_70B: dict[str, str] = {
    "source": "torchtitan benchmarks", "model_name": "llama3-70b", "arch": "llama", "layers": "80", "hidden": "8192",
    "heads": "64", "kv_heads": "8", "ffn": "28672", "vocab": "128256", "seq_len": "8192", "gated_mlp": "True",
    "gpu": "H100-SXM5-96GB HBM2e 500W", "gpus": "256", "framework": "torchtitan", "precision": "fp8", "tp": "8",
    "sp": "True", "zero_stage_or_fsdp": "fsdp2 shard=32", "micro_batch": "16", "global_batch": "512",
    "recompute": "full", "step_time_s": "19.8",
}  # fmt: skip
KEMPNER_8B: dict[str, str] = LLAMA_70B | {
    "source": "KempnerForge benchmark reports (H200)", "model_name": "Llama-3 8B", "layers": "32", "hidden": "4096",
    "heads": "32", "ffn": "14336", "seq_len": "4096", "gpu": "H200-SXM-141GB", "gpus": "32", "tp": "4",
    "framework": "KempnerForge", "precision": "bf16", "zero_stage_or_fsdp": "fsdp2", "micro_batch": "4",
    "global_batch": "64", "other_notes": "memory = max_memory_allocated/1024^3",
}  # fmt: skip


LITGPT_7B: dict[str, str] = LLAMA_70B | {
    "source": "LitGPT resource tables", "id": "litgpt-ft-12", "model_name": "Llama 2 7 B", "layers": "32",
    "hidden": "4096", "heads": "32", "kv_heads": "32", "ffn": "11008", "vocab": "32000", "seq_len": "1304", "gpus": "1",
    "gpu": "A100-SXM4-40GB", "framework": "LitGPT", "tp": "1", "sp": "", "zero_stage_or_fsdp": "", "micro_batch": "1",
    "global_batch": "1", "recompute": "", "precision": "bf16-true + bnb.nf4", "step_time_s": "",
    "other_notes": "Finetuning with LoRA on 1 GPU",
}  # fmt: skip
INTERN_20B: dict[str, str] = LITGPT_7B | {
    "source": "InternEvo GPU memory test", "id": "internevo-mem-14", "model_name": "InternLM-20B", "layers": "60",
    "hidden": "5120", "heads": "40", "kv_heads": "40", "ffn": "13824", "vocab": "103168", "seq_len": "2048",
    "gpus": "16", "gpu": "A800-80GB", "framework": "InternEvo", "zero_stage_or_fsdp": "fsdp", "recompute": "full",
    "global_batch": "64", "precision": "bf16", "other_notes": "",
}  # fmt: skip


def told(**columns: str) -> Case:
    found = case_of(Row(text=BLANK | columns))
    assert isinstance(found, Case)
    return found


@pytest.mark.parametrize(
    ("row", "more", "published_gib"),
    [
        (GPT_6B, {"other_notes": "schedule 1F1B; memory GB as printed"}, 39.0),
        (GPT_6B, {"other_notes": "schedule ZB-1p; memory GB as printed"}, 42.0),
        (GPT_6B, {"other_notes": "schedule ZB-2p; memory GB as printed"}, 70.0),
        (LLAMA_70B, {}, 71.9),
        (KEMPNER_8B, {}, 27.6),
        (LITGPT_7B, {}, 14.14),  # printed in units of 1e9 bytes
        (INTERN_20B, {}, 40.0),
    ],
)
def test_published_peaks(row: dict[str, str], more: dict[str, str], published_gib: float) -> None:
    case = told(**row, **more, peak_mem_gib=str(published_gib))
    asked = case.footprint
    unit = 1e9 if row is LITGPT_7B else 2.0**30
    assert case.peak_bytes == published_gib * unit
    assert asked.as_read(asked.allocated(case.model), asked.reading) / unit == pytest.approx(published_gib, rel=0.1)


def test_each_reading_shows_more_than_the_one_before() -> None:
    asked = told(**LLAMA_70B, peak_mem_gib="71.9").footprint
    shown = [asked.as_read(10e9, how) for how in ("allocated", "reserved", "occupied")]
    assert shown == sorted(shown)
    assert shown[0] < shown[1] < shown[2]


def test_a_row_out_of_memory_counts_as_one_that_does_not_fit() -> None:
    def row(notes: str, **columns: Any) -> Case:
        return told(
            **LLAMA_70B | {"gpu": "A100-SXM4-80GB", "gpus": "8", "step_time_s": "", "other_notes": notes} | columns
        )

    failed, ran = row("OOM on 80 GB"), row("", step_time_s="1.0", micro_batch="1", tp="1", gpus="64", global_batch="64")
    found = validate_memory([failed, ran], ["here", "here"])
    assert (found.fits["here"].failed, found.fits["here"].failed_right) == (1, 1)
    assert (found.fits["here"].ran, found.fits["here"].ran_right) == (1, 1)
    assert found.overall is None
