"""`samdrift people --server`: the same on another machine, through the administrative API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from samdrift.access.people import login_of
from samdrift.access.roles import Grant, Role
from samdrift.cli.administering import Administering, Refused
from samdrift.cli.local_people import storable
from samdrift.cli.people_told import (
    role_of,
    tell_disabled,
    tell_ended,
    tell_given,
    tell_invitation,
    tell_people,
    tell_removed,
    tell_sessions,
    tell_withdrawn,
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RemotePeople:
    """Whoever may sign in to the community of this server, as far as the token reaches. What cannot be done ends the command with
    a sentence."""

    api: Administering

    def create(self, login: str, name: str, grants: tuple[Grant, ...], lasts: float, *, qr: bool) -> None:
        """Make a local account and print its invitation."""
        with storable():
            login = login_of(login.strip())
            body = {"login": login, "name": name, "roles": [_json(grant) for grant in grants], "lasts": lasts}
            self._tell_invitation(self.api.send("POST", "people", body=body).body, qr=qr)

    def list(self, *, as_json: bool) -> None:
        """Print everybody within reach."""
        rows = [{"id": p["id"], "login": p["login"], "provider": p["provider"], "name": p["name"],
            "grants": [role_of(Grant(Role(role["role"]), role["organisation"])) for role in p["roles"]],
            "second_factors": p["second_factors"], "sessions": p["sessions"], "state": p["state"]}
            for p in self.api.pages("people", limit=200)]  # fmt: skip
        tell_people(rows, as_json=as_json)

    def grant(self, who: str, grant: Grant) -> None:
        """Give somebody a role."""
        done, called = self._change(who, grant, give=True)
        tell_given(called, grant, done=done)

    def withdraw(self, who: str, grant: Grant) -> None:
        """Take a role away."""
        changed, called = self._change(who, grant, give=False)
        if not changed:
            raise click.ClickException(f"{called} was not given {role_of(grant)} there, as far as you can see.")
        tell_withdrawn(called, grant)

    def invite(self, who: str, lasts: float, *, anew: bool, qr: bool) -> None:
        """Print a new invitation."""
        person = self._found(who)
        body = {"anew": anew, "lasts": lasts}
        self._tell_invitation(self.api.send("POST", "people", person["id"], "invitation", body=body).body, qr=qr)

    def disable(self, who: str, *, disabled: bool) -> None:
        """Keep somebody out, or let them in again."""
        person = self._found(who)
        self.api.send("POST", "people", person["id"], "disable" if disabled else "enable")
        tell_disabled(_called(person), disabled=disabled, done=(person["state"] == "disabled") != disabled)

    def remove(self, who: str) -> None:
        """Forget somebody."""
        person = self._found(who)
        self.api.send("DELETE", "people", person["id"])
        tell_removed(_called(person))

    def sessions(self, who: str, *, end: bool) -> None:
        """Print where somebody is signed in, or end it."""
        person = self._found(who)
        if end:
            tell_ended(_called(person), self.api.send("DELETE", "people", person["id"], "sessions").body["ended"])
            return
        found = self.api.get("people", person["id"], "sessions").body["items"]
        tell_sessions(_called(person), [(s["id"], _instant(s["created_at"]), _instant(s["seen_at"]), s["how"], s["address"],
            s["agent"][:40]) for s in found])  # fmt: skip

    def _change(self, who: str, wanted: Grant, *, give: bool) -> tuple[bool, str]:
        """Whether it changed anything, and what they are called. Decided anew if somebody else changes their roles meanwhile."""
        person = self._found(who)
        for last in (False, False, True):
            now = self.api.get("people", person["id"])
            held = [{"role": r["role"], "organisation": r["organisation"]} for r in now.body["roles"] if r["source"] == "given"]
            if (_json(wanted) in held) == give:
                return False, _called(now.body)
            roles = [*held, _json(wanted)] if give else [one for one in held if one != _json(wanted)]
            try:
                self.api.send("PATCH", "people", person["id"], body={"roles": roles}, if_match=now.etag)
            except Refused as refused:
                if refused.status != 412 or last:
                    raise
            else:
                return True, _called(now.body)
        raise AssertionError("the last try returns or raises")

    def _tell_invitation(self, made: Json, *, qr: bool) -> None:
        link = f"{str(self.api.server).rstrip('/')}{made['invitation']}"
        tell_invitation(_called(made["person"]), _instant(made["expires_at"]), link, qr=qr)

    def _found(self, who: str) -> Json:
        try:
            login = login_of(who)
        except ValueError:
            login = who
        found = next((p for p in self.api.pages("people", limit=200) if p["id"] == who or p["login"] == login), None)
        if found is None:
            raise click.ClickException("You can see nobody of this name. `samdrift people list` shows those that you can.")
        return found


def _json(grant: Grant) -> Json:
    return {"role": grant.role.value, "organisation": grant.organisation}


def _called(person: Json) -> str:
    return str(person["login"] or person["name"] or person["id"])


def _instant(at: str) -> str:
    return f"{at[:16].replace('T', ' ')} UTC"
