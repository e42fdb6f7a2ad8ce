"""The privacy report as Markdown and as a picture. Pure: the same document and canary give the same bytes, so that a report kept
in Git changes when what it reports does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from samdrift import __version__
from samdrift.access.dataflow import CONTENT, Flow, flows_of, held_by, kept_of
from samdrift.runtime.canary import CanaryResult
from samdrift.spec.document import Spec

FORMAT = 2
"""The version of the report's form."""

_MADE = """\
Made by `samdrift privacy report` from the document in force. Form {form}, Samdrift {version}, document `{document}`.
"""
_PROSE = """\
Prompts and answers go from the application through Envoy to the engine and back. The part of Samdrift that decides who is next
never sees them: Envoy tells it who asks, for which model and how large, and afterwards how many tokens it took. Nothing of them
is written to a disk here. Engines remember the beginnings of prompts in memory, and use them for whom the organisation says.
"""
_SEEN = """\
Nobody reads content, whatever the role: there is none. Whoever has the machine and its files can read what stands in them, hashes
and times among it.
"""
_AFTER = """\
After that time rows become sums by day ({zone}) and are deleted, and the files of an SQLite ledger are overwritten
where they stood. One person's rows are given out by `samdrift privacy export` and erased by `samdrift privacy erase`. The audit
trail is kept for its own time: it is how changes are accounted for.
"""
_ABOUT_CANARY = """\
A word that occurs nowhere else is sent as a prompt through the front door, and looked for in everything that is kept.
"""


def digest_of(spec: Spec) -> str:
    """Which document a report is about: SHA-256 of it, in hexadecimal."""
    return hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def markdown(spec: Spec, canary: CanaryResult | None, *, confined: bool | None, picture: str = "") -> str:
    """The report. `picture` is the path of the SVG, if there is one; `confined` as in `flows_of`."""
    flows = flows_of(spec, confined=confined)
    parts: list[str] = [
        f"# What {_cell(spec.community.name)} does with data\n",
        _MADE.format(form=FORMAT, version=__version__, document=digest_of(spec)[:16]),
        _PROSE,
    ]
    if picture:
        parts.append(f"![What goes where]({picture})\n")
    parts += [
        "## What goes where\n",
        _table(("from", "to", "carries", "what", "how"), ((f.source, f.target, f.carries, f.what, f.how) for f in flows)),
        "## What is kept\n",
        _table(("what", "where", "what it holds", "how long", "who can see it"),
            ((h.what, h.where, h.holds, h.long, h.seen) for h in held_by(spec))),
        _SEEN,
        "## What each organisation has kept of its requests\n",
        _table(("organisation", "", "rows are kept", "who asked is kept", "earlier prompts are used for"),
            ((k.organisation, k.name, k.metadata, k.users, k.prompts) for k in kept_of(spec))),
        _AFTER.format(zone=spec.retention.timezone),
        "## The canary\n",
        _ABOUT_CANARY,
        _canary(canary),
    ]  # fmt: skip
    return "\n".join(parts)


def _canary(result: CanaryResult | None) -> str:
    if result is None:
        return "It has not been sent here yet: `samdrift privacy canary` does.\n"
    at = datetime.fromtimestamp(result.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    said = f"Last sent {at} to `{result.model}` (Samdrift {result.version}, ticket `{result.ticket}`): "
    looked = f"{result.files:,} files with {result.bytes:,} bytes and all texts of the ledger were searched. "
    if result.passed:
        return f"{said}{looked}**It was found nowhere.**\n"
    return f"{said}{looked}**It was found in: {_cell(', '.join(result.found))}.**\n"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    """What people named things must not break the page."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return escape(plain, quote=False).replace("|", "\\|").replace("`", "'")


# -- the picture -----------------------------------------------------------------------------------------------------

_WIDTH, _BOX, _ROW, _TOP = 1080, 250, 64, 70
_COLUMNS = (30, 415, 800)
_STYLE = """\
<style>
text{fill:#1c2733} .box{fill:#fff;stroke:#6b7a89} .content{stroke:#b3261e;stroke-width:3;fill:none}
.metadata{stroke:#2b6cb0;stroke-width:1.2;fill:none;stroke-dasharray:5 3}
</style>"""


def picture(spec: Spec, *, confined: bool | None) -> str:
    """The same flows as an SVG: content in one colour and thick, metadata in another and thin."""
    flows = flows_of(spec, confined=confined)
    places = _places(flows)
    height = _TOP + _ROW * max(row + 1 for _, row in places.values()) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f"<title>What goes where in {escape(spec.community.name)}</title>",
        _STYLE,
        f'<rect width="{_WIDTH}" height="{height}" fill="#f7f9fb"/>',
        '<path class="content" d="M30 26h50"/><text x="90" y="31">prompts and answers: on no disk</text>',
        '<path class="metadata" d="M415 26h50"/><text x="475" y="31">metadata: who, when, how many tokens</text>',
    ]
    for flow in flows:
        (ax, ay), (bx, by) = places[flow.source], places[flow.target]
        start, end = _COLUMNS[ax] + (_BOX if bx >= ax else 0), _COLUMNS[bx] + (0 if bx > ax else _BOX)
        y1, y2 = (_TOP + _ROW * y + 22 for y in (ay, by))
        bend = 60 if bx != ax else 40
        kind = "content" if flow.carries == CONTENT else "metadata"
        way = f"M{start} {y1}C{start + bend} {y1} {end - (bend if bx > ax else -bend)} {y2} {end} {y2}"
        parts.append(f'<path class="{kind}" d="{way}"><title>{escape(flow.what)}; {escape(flow.how)}</title></path>')
    for name, (column, row) in places.items():
        x, y = _COLUMNS[column], _TOP + _ROW * row
        shown = name if len(name) <= 34 else name[:33] + "…"
        parts.append(f'<rect class="box" x="{x}" y="{y}" width="{_BOX}" height="44" rx="6"/>'
            f'<text x="{x + _BOX // 2}" y="{y + 27}" text-anchor="middle">{escape(shown)}</text>')  # fmt: skip
    return "\n".join([*parts, "</svg>"]) + "\n"


def _places(flows: Sequence[Flow]) -> dict[str, tuple[int, int]]:
    """A column and a row for each party: whoever only sends stands left, whoever only receives right, the others between."""
    sources, targets = {f.source for f in flows}, {f.target for f in flows}
    rows = [0, 0, 0]
    places: dict[str, tuple[int, int]] = {}
    for name in dict.fromkeys(party for f in flows for party in (f.source, f.target)):
        column = 0 if name not in targets else 2 if name not in sources else 1
        places[name] = (column, rows[column])
        rows[column] += 1
    return places
