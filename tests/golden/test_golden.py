"""Published points that ship with Trainwright: each predicted within its own tolerance, each with a source."""

from trainwright.cost.calibration import predict
from trainwright.cost.corrections import shipped
from trainwright.cost.published.row import read_rows
from trainwright.cost.validate import GOLDEN, measure, read_cases


def test_every_point_is_cited_and_within_its_tolerance() -> None:
    rows = list(read_rows(GOLDEN))
    assert len(rows) >= 60
    assert all(row["source"] and row["source_locator"] for row in rows)
    cases, refused = read_cases([GOLDEN])
    assert not refused
    measured = measure(cases)
    predicted = predict(measured.parts, shipped().of_all(measured))
    tolerance = {row["id"]: float(row["tolerance"]) for row in rows}
    missed = {
        case.id: round(float(guess / case.step_s - 1.0), 3)
        for case, guess in zip(cases, predicted, strict=True)
        if case.step_s and abs(guess / case.step_s - 1.0) > tolerance[case.id]
    }
    assert not missed
    assert sorted(tolerance.values())[len(tolerance) // 2] <= 0.15  # half of the points are held to 15 % or less
