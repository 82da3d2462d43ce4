"""The contract that every catalogue entry keeps, and the errors of look-ups."""

import csv
from pathlib import Path

import pytest

from trainwright.errors import InvalidInputError
from trainwright.hardware import catalogue
from trainwright.hardware.catalogue import CatalogueEntry
from trainwright.hardware.device import DTYPES
from trainwright.hardware.link import Link
from trainwright.hardware.names import words

FACTS = Path(__file__).resolve().parents[3] / "shared" / "facts" / "devices.csv"
DUAL_ISSUE = {
    "MI300X",
    "MI300A",
    "RX-7900-XTX",
    "Max-1550",
}  # listed FP32 is not 2 x cores x clock
NO_COMPUTE = {f"Apple {chip}" for chip in ("M1", "M1 Pro", "M1 Max", "M1 Ultra", "M2", "M2 Max", "M2 Ultra")} | {
    "Apple M3 Max", "Apple M3 Ultra",
}  # fmt: skip
NO_MEMORY = {"Apple M2 Pro", "Apple M3 Pro", "Ascend 910B2"}


@pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: entry.device.name)
def test_every_device_holds_together(entry: CatalogueEntry) -> None:
    device = entry.device
    assert device.memory_bytes > 2**30
    assert device.memory_bytes_per_s > 1e10
    assert device.power_w is None or 5 <= device.power_w <= 3000
    assert device.source
    assert entry.date
    assert set(device.flop_per_s) <= set(DTYPES)
    assert device.flop_per_s
    assert all(rate > 0 for rate in (*device.flop_per_s.values(), *device.vector_flop_per_s.values()))
    assert set(device.efficiency.matmul) == set(device.flop_per_s)
    assert all(0.2 < curve.best <= 1.3 for curve in device.efficiency.matmul.values())
    for name in filter(None, (device.link, device.host_link, entry.network)):
        assert catalogue.link(name).name == name
    if device.n_cores and device.boost_clock_hz and "fp32" in device.flop_per_s and device.name not in DUAL_ISSUE:
        by_formula = 2 * device.n_cores * device.boost_clock_hz
        listed = device.vector_flop_per_s.get("fp32", device.flop_per_s["fp32"])
        assert by_formula == pytest.approx(listed, rel=0.03)


def test_wider_types_are_never_faster() -> None:
    for device in catalogue.devices():
        rates = [device.flop_per_s[dtype] for dtype in ("tf32", "bf16", "fp8", "fp4") if dtype in device.flop_per_s]
        assert rates == sorted(rates), device.name


def test_no_two_devices_answer_to_one_name() -> None:
    owner: dict[frozenset[str], str] = {}
    for entry in catalogue.entries():
        for name in (entry.device.name, *entry.aliases):
            assert owner.setdefault(words(name), entry.device.name) == entry.device.name, name
            assert catalogue.device(name) is entry.device


@pytest.mark.parametrize("link", catalogue.links(), ids=lambda link: link.name)
def test_every_link_holds_together(link: Link) -> None:
    assert link.bytes_per_s > 0
    assert 0 < link.latency_s < 1e-3
    assert 0.3 < link.efficiency <= 1
    assert link.source


@pytest.mark.skipif(not FACTS.exists(), reason="the collected facts are not beside this checkout")
def test_every_collected_device_is_transcribed_or_refused_with_a_reason() -> None:
    rows = {row["name"]: row for row in csv.DictReader(FACTS.read_text().splitlines())}
    refused = {name for name in rows if catalogue.find(name.replace(" / A10G", "").replace(" (per GPU)", "")) is None}
    assert refused == NO_COMPUTE | NO_MEMORY | {"GH200 141/144GB"}  # the last under its two sizes
    for name in NO_COMPUTE:
        assert not any(rows[name][key] for key in ("fp32_tflops", "fp16_vector", "bf16_tensor_dense"))
    for name, row in rows.items():
        found = catalogue.find(name)
        if found is not None:
            assert found.device.memory_bytes_per_s == pytest.approx(float(row["memory_bw_gbps"]) * 1e9)
            if row["fp32_tflops"]:
                vector = found.device.vector_flop_per_s.get("fp32", found.device.flop_per_s["fp32"])
                assert vector == pytest.approx(float(row["fp32_tflops"]) * 1e12)
            if row["bf16_tensor_dense"]:
                assert found.device.flop_per_s["bf16"] == pytest.approx(float(row["bf16_tensor_dense"]) * 1e12)


def test_at_least_seventy_devices() -> None:
    assert len(catalogue.devices()) >= 70


def test_a_name_that_fits_several_lists_them_with_what_differs() -> None:
    with pytest.raises(InvalidInputError, match="'H100' is not one device: the catalogue has 6 that fit") as caught:
        catalogue.device("H100")
    assert "H100-PCIe, 80.0 GiB, 2.04 TB/s, 756 TFLOP/s bf16, 350 W, PCIe-5-x16" in str(caught.value.hint)
    with pytest.raises(InvalidInputError) as caught:
        catalogue.device("RTX-4060-Ti")
    assert "GB/s" not in str(caught.value.hint)  # the same for both, so it says nothing


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match="unknown device 'RTX-4091'") as caught:
        catalogue.device("RTX-4091")
    assert "RTX-4090" in str(caught.value.hint)
    with pytest.raises(InvalidInputError, match="unknown link 'NVLink-44'"):
        catalogue.link("NVLink-44")


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no file .*gone\.toml"):
        catalogue.load_toml(tmp_path / "gone.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(InvalidInputError, match=r"bad\.toml is not TOML"):
        catalogue.load_toml(tmp_path / "bad.toml")
