"""Where somebody may be sent after signing in: to a path of ours, and nowhere else."""

from __future__ import annotations

import re
from urllib.parse import unquote

HOME = "/signin/account"
"""Where people go who came from nowhere."""
_PATH = re.compile(r"/(?:[A-Za-z0-9_~.-][A-Za-z0-9_~./%:@!$&'()*+,;=-]*)?(?:\?[A-Za-z0-9_~./%:@!$&'()*+,;=?-]*)?")
_LONGEST = 512


def local_path(wanted: str | None) -> str:
    """`wanted` if it is a path on this site, else `HOME`.

    A browser reads `//host`, `/\\host` and, in some places, a tab or line end before them as another site; so the second letter
    must be one that begins a name, also after percent-decoding, and only plain letters of URLs are taken.
    """
    if not wanted or len(wanted) > _LONGEST or not _PATH.fullmatch(wanted):
        return HOME
    decoded = unquote(wanted, errors="replace")
    if "\\" in decoded or "//" in decoded.partition("?")[0] or any(ord(letter) < 32 for letter in decoded):
        return HOME
    return wanted
