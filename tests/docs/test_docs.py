"""The documents say what is true: generated pages are current, links lead somewhere, commands exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest

from samdrift.cli import main
from samdrift.cli.docs import PAGES
from samdrift.observe.catalogue import CATALOGUE
from samdrift.spec.problems import PROBLEMS, Reason

ROOT = Path(__file__).parents[2]
MARKDOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_current(name: str) -> None:
    written = (ROOT / "docs/reference" / name).read_text()
    assert written == PAGES[name](), f"docs/reference/{name} is not current: run `.venv/bin/samdrift docs`"


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [link for link in _LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in targets if not (page.parent / link).exists()] == []


def test_every_reason_has_a_problem_and_every_problem_its_entry() -> None:
    assert set(PROBLEMS) == set(Reason)
    page = (ROOT / "docs/reference/problems.md").read_text()
    assert [reason for reason in Reason if f"\n## {reason}\n" not in page] == []


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()
    assert [i.exposed for i in CATALOGUE if f"## `{i.exposed}`" not in page] == []


def _commands(command: click.Command, name: str, context: click.Context) -> list[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        found = []
        for inner in command.list_commands(context):
            child = command.get_command(context, inner)
            assert child is not None
            found += _commands(child, f"{name} {inner}", context)
        return found
    return [(name, command)]


COMMANDS = _commands(main, "samdrift", click.Context(main, info_name="samdrift"))


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_is_documented_and_has_an_example(name: str, command: click.Command) -> None:
    assert f"\n## {name}\n" in (ROOT / "docs/reference/commands.md").read_text()
    assert "Example" in (command.help or ""), f"`{name} --help` shows no example"


def test_commands_that_documents_name_exist() -> None:
    known = {name.split()[1] for name, _ in COMMANDS} | {"plan", "apply"}  # the two that the critiques say are missing
    text = "\n".join(page.read_text() for page in MARKDOWN)
    code = "\n".join(re.findall(r"`[^`\n]+`|^.*bin/samdrift.*$", text, re.MULTILINE))
    named = set(re.findall(r"(?:^|[`/ ])samdrift ([a-z]+)\b", code))
    assert named - known == set()


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(page.read_text() for page in MARKDOWN)
    assert set(re.findall(r"`make ([a-z-]+)`", text)) - targets == set()


def test_the_project_names_no_machine_and_no_registry() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    # In two parts each, so that this file passes its own test.
    hosts = [a + b for a, b in (("py", "pi.org"), ("pythonho", "sted.org"), ("registry.n", "pmjs.org"), ("proxy.go", "lang.org"))]
    forbidden = re.compile("|".join([*map(re.escape, hosts), r"(?<![\w.])/(?:work|root)/"]))
    found = []
    for name in filter(None, tracked):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            text = path.read_bytes().decode("utf-8", "replace")
            found += [f"{name}: {match[0]}" for match in forbidden.finditer(text)]
    assert found == []
