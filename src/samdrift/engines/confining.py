"""Engines without a network, and each as a user of its own: they listen on a Unix socket, and there is nobody they need to call.

An engine is started through two programs of util-linux that replace themselves by the next, so that its process id, session
and signals are those of the engine: `unshare` gives it a network namespace of its own in which there is not even a loopback,
and `setpriv` takes away what it would need to get out of it again. As root that is nearly every capability; otherwise a user
namespace comes with the network's, where the system lets people make one. See network_namespaces(7), user_namespaces(7).

Where root starts an engine that can bear it, it runs as a user of its own, who owns nothing but the folder of its socket: it
signals nobody, opens no other socket and writes no file. What is left to it is to read whatever there is, since the weights may
be anybody's; what it reads is the matter of `fencing`. An engine of another user than root runs as that user.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PATIENCE = 60.0  # seconds; a busy machine must not look like one that cannot
# What is left to an engine that root runs: reading weights that belong to others.
_KEPT = "-all,+dac_override,+dac_read_search"
_READS = "-all,+dac_read_search"
# Users that nobody is: where a machine gives out any number, the range that systemd's documentation lists as unused; else, in a
# container with few of them, the one in which systemd makes up users of services.
_FAR, _NEAR = range(1_900_000_000, 2_100_000_000), range(61_184, 65_520)


@dataclass(frozen=True, slots=True)
class Confinement:
    """How programs are kept from the network here. `wrapper` stands before a program's own words; it is empty where it cannot
    be done, and `sentence` says why and what would help."""

    wrapper: tuple[str, ...]
    sentence: str
    setpriv: str = ""
    """The program that makes another user of a process; empty where that cannot be done, and `users` says why."""
    users: str = ""

    def as_user(self, uid: int) -> tuple[str, ...]:
        """A wrapper for a program that is to be this user, and may read what any user may."""
        before = self.wrapper[: self.wrapper.index("--") + 1] if self.wrapper else ()
        return (*before, self.setpriv, f"--reuid={uid}", f"--regid={uid}", "--clear-groups", f"--bounding-set={_READS}",
            f"--inh-caps={_READS}", f"--ambient-caps={_READS}", "--no-new-privs", "--")  # fmt: skip

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
        lacking = "`unshare` and `setpriv` are not installed; both are in util-linux."
        return Confinement((), lacking, users=lacking)
    wrapper = wrapper_for(root=os.geteuid() == 0, unshare=unshare, setpriv=setpriv)
    fault = _fault(wrapper)
    if os.geteuid() != 0:
        users = "Engines run as the user of the service: only root can give each one of its own."
        if fault is None:
            return Confinement(wrapper, "Engines have no network.", users=users)
        return Confinement((), f"{fault} Let users make namespaces: user.max_user_namespaces in sysctl.conf, and on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns.", users=users)  # fmt: skip
    network = "Engines have no network." if fault is None else (
        f"{fault} Root needs the capability CAP_SYS_ADMIN, which containers often take away.")  # fmt: skip
    found = Confinement(wrapper if fault is None else (), network, setpriv)
    fault = _user_fault(found, user_of(Path("/"), "nobody's engine"))
    if fault is None:
        return dataclasses.replace(found, users="Engines of llama.cpp have a user of their own each.")
    return dataclasses.replace(found, setpriv="", users=f"Engines run as root: {fault} Root needs the capabilities CAP_SETUID, "
        "CAP_SETGID, CAP_DAC_READ_SEARCH, CAP_CHOWN and CAP_KILL.")  # fmt: skip


def user_of(folder: Path, name: str, mapped: Path = Path("/proc/self/uid_map")) -> int:
    """The user that the engine `name` of the community in `folder` runs as: always the same, hardly ever that of another."""
    chosen = int.from_bytes(hashlib.sha256(os.fsencode(folder.absolute()) + b"\0" + name.encode()).digest()[:8])
    lines = (line.split() for line in mapped.read_text().splitlines())
    far = any(int(first) <= _FAR.start and int(first) + int(many) >= _FAR.stop for first, _, many in lines)
    return (_FAR if far else _NEAR)[chosen % len(_FAR if far else _NEAR)]


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


def _user_fault(found: Confinement, uid: int) -> str | None:
    """Why a program cannot run as this user, or could not be looked after then; None if all is well."""
    try:
        with subprocess.Popen([*found.as_user(uid), "/bin/sh", "-c", "echo up; read -r word"],  # noqa: S603 - ours
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:  # fmt: skip
            try:
                out = child.stdout
                ready = out is not None and select.select([out], [], [], _PATIENCE)[0]
                said = out.readline().strip() if out is not None and ready else "it does not begin"
                if said != "up":
                    return f"another user cannot be made ({said[:200]})."
                status = Path(f"/proc/{child.pid}/status").read_text()
                if f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" not in status or "CapEff:\t0000000000000004" not in status:
                    return "a user so made is another than asked for."
                Path(f"/proc/{child.pid}/maps").read_text()  # the cache of weights looks there for what is in use
                child.terminate()
            finally:
                child.kill()
        with tempfile.TemporaryDirectory() as folder:
            os.chown(folder, uid, -1)
    except (OSError, subprocess.SubprocessError) as error:
        return f"another user cannot be made ({type(error).__name__})."
    return None
