from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainwright.cost.calibration import KINDS, OWN_SPREADS, Prior, fit, predict
from trainwright.cost.published.case import Case, case_of
from trainwright.cost.published.row import read_rows
from trainwright.cost.validate import GOLDEN, blind_scales, calibrated_scales, measure, read_cases, validate
from trainwright.errors import DataError

SHARED = Path(__file__).resolve().parents[3] / "shared/measurements/train_measurements.csv.gz"


@pytest.fixture(scope="module")
def golden() -> list[Case]:
    return read_cases([GOLDEN])[0]


def test_a_fit_finds_the_scales_that_made_the_seconds(golden: list[Case]) -> None:
    measured = measure(golden)
    truth = np.zeros((len(golden), len(KINDS)))
    truth[:, KINDS.index("compute")] = np.log(1.3)
    made = replace(
        measured,
        seconds=predict(measured.parts, truth),
        names=measured.names[:3],
        weights=np.ones(len(golden)),
        owners=(),
    )
    found = fit(made, prior=Prior(spreads=OWN_SPREADS)).of_all(made)
    np.testing.assert_allclose(predict(made.parts, found), made.seconds, rtol=0.03)


def test_a_judged_row_takes_no_part_in_its_constants(golden: list[Case]) -> None:
    """Ten times the seconds of one source leave its own blind scales as they were, and move those of others."""
    measured = measure(golden)
    sources = np.array([case.source for case in golden])
    one = sources == next(s for s in sources if s.startswith("Korthikanti"))
    lied = replace(measured, seconds=np.where(one, 10.0 * measured.seconds, measured.seconds))
    start = fit(measured)
    honest, moved = blind_scales(measured, sources, start), blind_scales(lied, sources, start)
    np.testing.assert_allclose(honest[one], moved[one])
    assert not np.allclose(honest[~one], moved[~one])


def test_calibration_on_a_source_s_other_rows_helps(golden: list[Case]) -> None:
    measured = measure(golden)
    blind = blind_scales(measured, np.array([case.source for case in golden]))
    own = calibrated_scales(measured, golden, blind)
    errors = [np.abs(np.log(predict(measured.parts, scales) / measured.seconds)) for scales in (blind, own)]
    assert np.mean(errors[1]) < np.mean(errors[0])


def test_rows_are_counted_used_or_refused_with_a_reason(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    lines = GOLDEN.read_text().splitlines()
    columns = lines[0].split(",")
    unknown = ["x" if name in ("id", "source", "model_name") else "" for name in columns]
    unknown[columns.index("gpu")] = "Abacus"
    table.write_text("\n".join([lines[0], lines[1], ",".join(unknown)]) + "\n")
    found = validate([table])
    assert (found.n_used, found.refused) == (1, {"unknown device": 1})
    assert found.refused_share == 0.5


def test_a_missing_file_or_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        list(read_rows(tmp_path / "none.csv"))
    odd = tmp_path / "odd.csv"
    odd.write_text("id,speed\n1,2\n")
    with pytest.raises(DataError, match="lacks the columns source, model_name"):
        list(read_rows(odd))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the published measurements are not beside this checkout")
def test_hardly_a_published_row_is_refused() -> None:
    rows = list(read_rows(SHARED))
    refused = [row["id"] for row in rows if not isinstance(case_of(row), Case)]
    assert len(refused) < 0.03 * len(rows)
