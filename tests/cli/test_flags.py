from tools.flags import LIST, flags

from trainwright.cli.main import trainwright_group


def test_no_option_comes_or_goes_unseen() -> None:
    now = flags(trainwright_group, "trainwright")
    assert now == LIST.read_text().splitlines(), "if this is meant, run python -m tools.flags and commit the list"
