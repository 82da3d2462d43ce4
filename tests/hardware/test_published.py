"""The device columns of published tables resolve."""

import csv
import gzip
from pathlib import Path

import pytest

from trainwright.hardware.published import published_device

TABLE = Path(__file__).resolve().parents[3] / "shared" / "measurements" / "train_measurements.csv.gz"
UNNAMED = {"", "not stated", "TPU"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("H100 64GB (MareNostrum 5)", "H100-SXM-64GB"),
        ("A100-SXM 64GB (Leonardo custom)", "A100-SXM-64GB"),
        ("H100-SXM5-96GB HBM2e 500W", "H100-SXM-96GB-500W"),
        ("Trainium1 NeuronCore-v2 (half a chip, 16 GB)", "Trainium1-core"),
        ("MI250X GCD (Frontier)", "MI250X-GCD"),
        ("8x A100 SXM4", "A100-SXM-80GB"),
        ("AMD Instinct MI325X 256GB HBM3E DLC", "MI325X"),
    ],
)
def test_special_parts(text: str, name: str) -> None:
    found = published_device(text)
    assert found is not None
    assert found.name == name


@pytest.mark.skipif(not TABLE.exists(), reason="the published measurements are not beside this checkout")
def test_every_named_device_of_the_training_rows_resolves() -> None:
    with gzip.open(TABLE, "rt") as file:
        names = {row["gpu"] for row in csv.DictReader(file)}
    assert {name for name in names if published_device(name) is None} == UNNAMED


@pytest.mark.parametrize("text", ["RTX 3080 Laptop", "RTX 2070 Max-Q", "Apple M3 Max", "Blackwell (SM100)", "GPU"])
def test_another_product_is_not_the_nearest_name(text: str) -> None:
    assert published_device(text) is None
