"""The pages of the reference that come from commands and problems, as text. Pure."""

from __future__ import annotations

import inspect

import click

from samdrift.spec.problems import PROBLEMS, Problem

_MADE = "Made from the code by `samdrift docs`; do not edit it by hand.\n"
_ABOUT = """\
Whenever the answer is no, its body is `{"error": {"message", "type", "param", "code"}}`, as OpenAI's client libraries
expect. The heading is the reason, which is also the label of the metric `samdrift_refusals_total`. 429 and 503 carry
`Retry-After`.
"""


def problems_reference() -> str:
    """The page `docs/reference/problems.md`."""
    rows = sorted(PROBLEMS.values(), key=lambda p: (p.status, p.reason))
    return "\n".join(["# Problems\n", _MADE, _ABOUT, *map(_entry, rows)])


def _entry(problem: Problem) -> str:
    facts = f"HTTP {problem.status} · type `{problem.type}` · code `{problem.code}`"
    if problem.param:
        facts += f" · param `{problem.param}`"
    return f"## {problem.reason}\n\n{facts}\n\n{problem.sentence} {problem.remedy}\n"


def commands_reference() -> str:
    """The page `docs/reference/commands.md`."""
    from samdrift.cli import main

    parts = ["# Commands\n", _MADE,
        "Exit codes: 0, 1 (the answer is no), 2 (used wrongly). Colour only on a terminal.\n"]  # fmt: skip
    context = click.Context(main, info_name="samdrift", help_option_names=["-h", "--help"])
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is not None:
            parts += _pages_of(command, f"samdrift {name}", context)
    return "\n".join(parts)


def _pages_of(command: click.Command, name: str, parent: click.Context) -> list[str]:
    context = click.Context(command, info_name=name.rsplit(" ", 1)[-1], parent=parent)
    if isinstance(command, click.Group):
        pages = [f"## {name}\n\n{_prose(command)}\n"]
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                pages += _pages_of(found, f"{name} {inner}", context)
        return pages
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    page = f"## {name}\n\n```\n{usage}\n```\n\n{_prose(command)}\n"
    rows = [row for row in (p.get_help_record(context) for p in command.params) if row is not None]
    # Not asked of click, which keeps for good what its answer was when the command was first run, alone perhaps.
    rows.append((", ".join(context.help_option_names), "Show this message and exit."))
    page += "\n| option | |\n|---|---|\n" + "".join(f"| `{a}` | {b} |\n".replace("|  |", "| |") for a, b in rows)
    return [page]


def _prose(command: click.Command) -> str:
    """A command's help; what stands behind `\\b` is shown as it is written."""
    blocks = inspect.cleandoc(command.help or "").split("\n\n")
    shown = []
    for block in blocks:
        if block.startswith("\b"):
            heading, _, lines = block.removeprefix("\b").strip("\n").partition("\n")
            shown.append(f"{heading}\n\n```\n{inspect.cleandoc(lines)}\n```")
        else:
            shown.append(" ".join(block.split()))
    return "\n\n".join(shown)
