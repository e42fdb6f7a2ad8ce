"""The documents say what is true: generated pages are current, links lead somewhere, commands exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import get_args, get_origin
from xml.etree import ElementTree as ET

import click
import pytest
from pydantic import BaseModel

from samdrift.cli import main
from samdrift.cli.docs import PAGES
from samdrift.observe.catalogue import CATALOGUE
from samdrift.spec.document import Spec
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


ROOMS = {path.name for path in (ROOT / "src/samdrift").iterdir() if (path / "__init__.py").is_file()}
_TOPS = ("src", "tests", "docs", "bench", "examples")
FILES = [f"/{path.relative_to(ROOT)}" for top in _TOPS for path in (ROOT / top).rglob("*")]
FILES += [f"/{path.name}" for path in ROOT.iterdir()]
_FILE = re.compile(r"`([\w./-]+\.(?:py|lua|md|svg|sql|toml|lock))`")
_DOTTED = re.compile(r"`([a-z]+(?:[./][a-z_0-9]+)+)`")
# Files that a user's own folder has, or another project.
_ELSEWHERE = {"weights.lock", "privacy.md", "privacy.svg", "convert_lora_to_gguf.py"}


def test_the_architecture_shows_every_room() -> None:
    shown = set(re.findall(r"^  (\w+)/ ", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE))
    assert shown == ROOMS


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_modules_that_documents_name_exist(page: Path) -> None:
    text = page.read_text()
    missing = [name for name in _FILE.findall(text) if name not in _ELSEWHERE and not any(f.endswith(f"/{name}") for f in FILES)]
    missing += [name for name in _DOTTED.findall(text) if re.split(r"[./]", name)[0] in ROOMS and not _known(name)]
    assert missing == []


def _known(name: str) -> bool:
    """Whether it is a file or a module of ours, a name in a module, or a setting of the document."""
    if _FILE.fullmatch(f"`{name}`"):
        return True  # looked for as a file
    parts = re.split(r"[./]", name)
    if "." in name and _is_setting(Spec, parts):
        return True
    *above, last = parts
    folder = ROOT / "src/samdrift"
    if folder.joinpath(*above, last).is_dir() or folder.joinpath(*above, f"{last}.py").is_file():
        return True
    module = folder.joinpath(*above[:-1], f"{above[-1]}.py")
    return module.is_file() and bool(re.search(rf"^(?:class |def |async def )?{last}\b", module.read_text(), re.MULTILINE))


def _is_setting(noun: object, parts: list[str]) -> bool:
    """Whether `noun`, a type that stands in the document, has a setting at these names. A name of the user's own is any word."""
    if not parts:
        return True
    inner = [noun, *_within(noun)]
    fields = [type_.model_fields[parts[0]].annotation for type_ in inner
        if isinstance(type_, type) and issubclass(type_, BaseModel) and parts[0] in type_.model_fields]  # fmt: skip
    if any(_is_setting(field, parts[1:]) for field in fields):
        return True
    return any(get_origin(type_) in (dict, Mapping) and _is_setting(get_args(type_)[1], parts[1:]) for type_ in inner)


def _within(noun: object) -> list[object]:
    found = list(get_args(noun)) if get_origin(noun) not in (dict, Mapping) else []
    return found + [deeper for one in found for deeper in _within(one)]


@pytest.mark.parametrize("picture", sorted((ROOT / "docs/pictures").iterdir()), ids=lambda p: p.name)
def test_a_picture_can_be_read_on_any_ground_and_is_shown_somewhere(picture: Path) -> None:
    drawing = ET.parse(picture).getroot()  # noqa: S314 - our own file
    wide, high = (float(size) for size in drawing.attrib["viewBox"].split()[2:])
    shapes = [shape for shape in drawing if not shape.tag.endswith(("defs", "style", "title"))]
    ground = shapes[0].attrib
    assert (float(ground["width"]), float(ground["height"])) == (wide, high), "it begins with no ground of its own"
    assert any(f"{picture.name})" in page.read_text() for page in MARKDOWN)


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_to_a_heading_find_it(page: Path) -> None:
    lost = []
    for link, heading in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        target = page if not link else page.parent / link
        if "://" not in link and target.suffix == ".md":
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            if heading not in {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}:
                lost.append(f"{link}#{heading}")
    assert lost == []


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
    silent = [param.opts for param in command.params if isinstance(param, click.Option) and not (param.help or param.hidden)]
    assert silent == [], f"`{name} --help` does not say what these are for"


def test_commands_that_documents_name_exist() -> None:
    known = {name.split()[1] for name, _ in COMMANDS}
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
