"""Engines without a network: they listen on a Unix socket, and there is nobody they need to call.

An engine is started through two programs of util-linux that replace themselves by the next, so that its process id, session
and signals are those of the engine: `unshare` gives it a network namespace of its own in which there is not even a loopback,
and `setpriv` takes away what it would need to get out of it again. As root that is nearly every capability; otherwise a user
namespace comes with the network's, where the system lets people make one. See network_namespaces(7), user_namespaces(7).

This keeps an engine from the network, and from nothing else: it reads files and opens Unix sockets as its user may.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

_PATIENCE = 60.0  # seconds; a busy machine must not look like one that cannot
# What is left to an engine that root runs: reading weights that belong to others.
_KEPT = "-all,+dac_override,+dac_read_search"


@dataclass(frozen=True, slots=True)
class Confinement:
    """How programs are kept from the network here. `wrapper` stands before a program's own words; it is empty where it cannot
    be done, and `sentence` says why and what would help."""

    wrapper: tuple[str, ...]
    sentence: str

    @property
    def with_loopback(self) -> tuple[str, ...]:
        """A wrapper for a program whose parts meet on ports: with a loopback of its own, and nothing else."""
        if not self.wrapper:
            return ()
        at = self.wrapper.index("--")
        # Whoever is not root loses what it may in its own namespace with the next program, unless it is told to keep it so long.
        kept = ("--keep-caps",) if "--user" in self.wrapper else ()
        dropped = tuple(word.replace("--no-new-privs", "--inh-caps=-all --ambient-caps=-all --no-new-privs") if kept else word
            for word in self.wrapper[at:])  # fmt: skip
        rest = tuple(part for word in dropped for part in word.split(" "))
        return (*self.wrapper[:at], *kept, "--", sys.executable, "-P", "-m", "samdrift.engines.loopback", *rest)

    @property
    def possible(self) -> bool:
        """Can it be done?"""
        return bool(self.wrapper)


@cache
def confinement() -> Confinement:
    """What this system lets us do, found out by doing it once. Takes some milliseconds."""
    unshare, setpriv = shutil.which("unshare"), shutil.which("setpriv")
    if unshare is None or setpriv is None:
        return Confinement((), "`unshare` and `setpriv` are not installed; both are in util-linux.")
    wrapper = wrapper_for(root=os.geteuid() == 0, unshare=unshare, setpriv=setpriv)
    fault = _fault(wrapper)
    if fault is None:
        return Confinement(wrapper, "Engines have no network.")
    if os.geteuid() == 0:
        return Confinement((), f"{fault} Root needs the capability CAP_SYS_ADMIN, which containers often take away.")
    return Confinement((), f"{fault} Let users make namespaces: user.max_user_namespaces in sysctl.conf, and on Ubuntu "
        "kernel.apparmor_restrict_unprivileged_userns.")  # fmt: skip


def wrapper_for(*, root: bool, unshare: str = "unshare", setpriv: str = "setpriv") -> tuple[str, ...]:
    """The words that stand before a program that is to have no network."""
    if root:
        return (unshare, "--net", "--", setpriv, f"--bounding-set={_KEPT}", "--inh-caps=-all", "--no-new-privs", "--")
    return (unshare, "--user", "--map-current-user", "--net", "--", setpriv, "--no-new-privs", "--")


def _fault(wrapper: tuple[str, ...]) -> str | None:
    """Why a program so wrapped does not run, or sees a network all the same; None if all is well."""
    try:
        done = subprocess.run([*wrapper, "/bin/cat", "/proc/self/net/route", "/proc/self/net/ipv6_route"],  # noqa: S603 - ours
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False)  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return f"A network namespace cannot be made ({type(error).__name__})."
    if done.returncode != 0 and "ipv6_route" not in done.stderr:
        said = done.stderr.strip().splitlines()
        return f"A network namespace cannot be made ({said[-1][:200] if said else f'exit code {done.returncode}'})."
    # IPv6 always has one route of the loopback, which goes nowhere.
    routes = [line for line in done.stdout.splitlines() if line.strip() and not line.startswith("Iface") and " lo" not in line]
    return f"A new network namespace has a way out ({routes[0][:80]})." if routes else None
