"""The docs name what there is: every command has a page, every link in them leads somewhere."""

import re
from pathlib import Path

import pytest

from trainwright.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page(command: str) -> None:
    if not (ROOT / "docs" / f"{command}.md").exists():
        pages = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
        assert re.search(rf"^#.*trainwright {command}\b", pages, flags=re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_docs_exist(page: Path) -> None:
    named = set(re.findall(r"^\s*(?:\$ )?trainwright ([a-z]+)", page.read_text(), flags=re.M))
    assert named <= set(COMMANDS), f"{page.name} names {named - set(COMMANDS)}"
