import pickle

from trainwright.errors import DoesNotFitError, TrainwrightError, unknown_name


def test_an_error_survives_pickling_with_its_hint() -> None:
    error = DoesNotFitError("131 GiB per device, 80 GiB available", hint="use tensor parallel 16")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is DoesNotFitError
    assert (again.message, again.hint, again.exit_code) == (error.message, error.hint, 3)


def test_every_error_has_its_own_exit_code() -> None:
    kinds = TrainwrightError.__subclasses__()
    codes = [kind.exit_code for kind in kinds]
    assert sorted(codes) == [1, 2, 3, 4, 5, 6, 75, 130]


def test_an_unknown_name_gets_the_nearest_known() -> None:
    assert "did you mean H100-SXM" in str(unknown_name("device", "h100sxm", ["H100-SXM", "A100-40GB"]))
