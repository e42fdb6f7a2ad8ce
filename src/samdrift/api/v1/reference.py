"""The page of the reference about the administrative API: roles, permissions, routes and problems, made from the code."""

from __future__ import annotations

import inspect

from samdrift.access.permissions import permissions_table
from samdrift.api.v1.application import routes
from samdrift.api.v1.door import MAX_BODY, MAX_DOCUMENT_BODY, PREFIX
from samdrift.api.v1.guarding import Needs, Over, needs_of
from samdrift.api.v1.problems import TITLES
from samdrift.api.v1.repeating import KEPT

_HEAD = """\
# Administration

Made from the code by `samdrift docs`; do not edit it by hand.

Everything that people and programs administer goes through the API under `{prefix}`. Its OpenAPI document is
[openapi.json](openapi.json), which every running service also shows at `{prefix}/openapi.json`. The commands `samdrift plan`,
`apply`, `history`, `rollback`, `members` and `tokens` speak to it: on the service's own machine over a socket in the data
folder, elsewhere with `--server URL` and a token.

- **Who asks**: somebody who signed in (a session), or an administrative token (`Authorization: Bearer sdadm-…`). An API key
  opens nothing here, and a token opens no model. Whoever can open the socket in the data folder runs the service, and may do
  everything.
- **What is denied**: whatever no role allows. Each refused attempt is in the audit.
- **Nobody sees another organisation's data**, and it is not told whether there is such an organisation.
- **Nobody gives a role that reaches farther than their own**, nor takes over an account that holds one.

## Roles and permissions

`all`: over the whole community. `own`: over the organisation that the role is held over.

{table}
## Manners

- Bodies are JSON of at most {body} KiB ({document} MiB where they hold a document); a field that is not known is refused.
- Lists come in pages of at most `limit` items; `next` is the `cursor` of the next page, and null on the last one.
- GET answers have an `ETag`; with `If-None-Match` an answer that has not changed is not sent again. PATCH and DELETE take
  `If-Match`; so do changes of the document, with the `etag` of the plan that they were decided on.
- A POST with an `Idempotency-Key` may be repeated for {kept:.0f} minutes: it is done once, and answered the same.
- Answers that are no are problem details (RFC 9457). `type` is `urn:samdrift:problem:` and one of the words below.

"""


def administration_reference() -> str:
    """The whole page, in Markdown."""
    head = _HEAD.format(prefix=PREFIX, table=permissions_table(), body=MAX_BODY // 1024, document=MAX_DOCUMENT_BODY // 2**20,
        kept=KEPT / 60)  # fmt: skip
    problems = "".join(f"| `{kind}` | {status} | {title} |\n" for kind, (status, title) in TITLES.items())
    rows = []
    for path, route in routes():
        about = inspect.cleandoc(route.endpoint.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        needed = _needed(needs_of(route))
        rows += [f"| `{method} {path.removeprefix(PREFIX)}` | {needed} | {about} |\n" for method in sorted(route.methods or ())]
    return (f"{head}## Problems\n\n| kind | status | |\n|---|---|---|\n{problems}\n## Routes\n\n"
        f"Below `{PREFIX}`.\n\n| route | permission | |\n|---|---|---|\n{''.join(rows)}")  # fmt: skip


_OVER = {Over.COMMUNITY: " over all", Over.ORGANISATION: " over the organisation", Over.REACH: "; it shows what is within reach",
    Over.ONESELF: ""}  # fmt: skip


def _needed(needs: Needs | None) -> str:
    return "none" if needs is None or needs.permission is None else f"`{needs.permission}`{_OVER[needs.over]}"
