"""The zoo: every model that capture must understand, at toy size for tests and at a size worth timing."""

from benchmarks.zoo.strangers import STRANGERS
from benchmarks.zoo.table import ZOO, Case, Entry, entry

__all__ = ["STRANGERS", "ZOO", "Case", "Entry", "entry"]
