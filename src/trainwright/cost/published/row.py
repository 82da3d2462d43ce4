"""One row of a table of published training measurements, with its texts read into numbers."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainwright.errors import DataError

COLUMNS = (
    "id", "source", "model_name", "arch", "params_b", "layers", "hidden", "heads", "kv_heads", "ffn", "vocab",
    "seq_len", "gated_mlp", "tied_embed", "experts", "topk", "gpu", "gpus", "gpus_per_node", "interconnect",
    "framework", "precision", "tp", "sp", "cp", "pp", "vpp", "ep", "dp", "zero_stage_or_fsdp", "micro_batch",
    "global_batch", "grad_accum", "recompute", "flash_attention", "compile", "other_notes", "step_time_s",
    "tokens_per_s_per_gpu", "tflops_per_gpu", "mfu_pct", "hfu_pct", "peak_mem_gib",
)  # fmt: skip
"""What a table of training measurements must have; more columns are kept as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: texts by column, empty where the source does not say."""

    text: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.text[column]

    def number(self, column: str) -> float | None:
        """The column as a number, or None where it is empty or not one.

        >>> Row(text={"tp": "8", "pp": ""}).number("tp"), Row(text={"pp": ""}).number("pp")
        (8.0, None)
        """
        try:
            return float(self.text[column])
        except ValueError:
            return None

    def count(self, column: str, default: int) -> int:
        """The column as a whole number."""
        value = self.number(column)
        return default if value is None else round(value)

    def flag(self, column: str) -> bool | None:
        """True, False, or None where the source does not say."""
        return {"true": True, "false": False}.get(self.text[column].casefold())

    def says(self, *words: str) -> bool:
        """Whether the notes, the framework or the model's name hold any of these words, in any case."""
        text = " ".join(self.text[c] for c in ("other_notes", "framework", "model_name", "source")).casefold()
        return any(word.casefold() in text for word in words)


def read_rows(path: Path, columns: Sequence[str] = COLUMNS) -> Iterator[Row]:
    """The rows of a CSV file, gzipped or not, that has these columns."""
    reader = csv.DictReader(_lines(path))
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing[:6])}{' ...' if len(missing) > 6 else ''}",
            hint="see docs/validate.md for the columns a table of measurements has",
        )
    for raw in reader:
        yield Row(text={name: (value or "").strip() for name, value in raw.items()})


def column_names(path: Path) -> tuple[str, ...]:
    """The names in the first line."""
    return tuple(csv.DictReader(_lines(path)[:1]).fieldnames or ())


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"no file {str(path)!r}", hint="give the path of a CSV file of measurements")
    packed = path.read_bytes()
    return (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8").splitlines()
