"""Permissions: what each role may do, as one table. Whatever is not in it is denied.

Every administrative action asks `may` with the organisation whose matter it is, or None where the matter is the whole
community's. A role that is held over one organisation never reaches another one, nor the community; one that is held over all
reaches both. The page `docs/reference/administration.md` is made from this table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from samdrift.access.roles import OVER_ALL, Actor, Grant, Role


class Permission(StrEnum):
    """One administrative action. The value is stable: it is the `action` of audit events."""

    MEMBERS_READ = "members.read"
    PROJECTS_READ = "projects.read"
    MODELS_READ = "models.read"
    USAGE_READ = "usage.read"
    TICKETS_READ = "tickets.read"
    STATUS_READ = "status.read"
    KEYS_READ = "keys.read"
    KEYS_CREATE = "keys.create"
    KEYS_ROTATE = "keys.rotate"
    KEYS_REVOKE = "keys.revoke"
    KEYS_REFUSE = "keys.refuse"
    PEOPLE_READ = "people.read"
    PEOPLE_CREATE = "people.create"
    PEOPLE_GRANT = "people.grant"
    PEOPLE_DISABLE = "people.disable"
    PEOPLE_RESET = "people.reset"
    PEOPLE_REMOVE = "people.remove"
    TOKENS_READ = "tokens.read"
    TOKENS_CREATE = "tokens.create"
    TOKENS_REVOKE = "tokens.revoke"
    DOCUMENT_READ = "document.read"
    DOCUMENT_PLAN = "document.plan"
    DOCUMENT_APPLY = "document.apply"
    DOCUMENT_ROLL_BACK = "document.roll_back"
    AUDIT_READ = "audit.read"
    AUDIT_EXPORT = "audit.export"
    PRIVACY_READ = "privacy.read"
    PRIVACY_EXPORT = "privacy.export"
    PRIVACY_ERASE = "privacy.erase"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may. `about` completes the sentence "may …"."""

    about: str
    roles: frozenset[Role]

    @property
    def reaches_one(self) -> bool:
        """Whether any role over a single organisation may do it there."""
        return not self.roles <= OVER_ALL


_O, _U, _A, _D, _F, _V = Role.OPERATOR, Role.AUDITOR, Role.ADMINISTRATOR, Role.DEVELOPER, Role.FINANCE, Role.VIEWER


def _rule(about: str, *roles: Role) -> Rule:
    return Rule(about, frozenset(roles))


RULES: dict[Permission, Rule] = {
    Permission.MEMBERS_READ: _rule("see organisations and their shares", _O, _U, _A, _D, _F, _V),
    Permission.PROJECTS_READ: _rule("see an organisation's projects", _O, _U, _A, _D, _F, _V),
    Permission.MODELS_READ: _rule("see the models that an organisation may use", _O, _U, _A, _D, _F, _V),
    Permission.USAGE_READ: _rule("see sums of requests and tokens", _O, _U, _A, _D, _F, _V),
    Permission.TICKETS_READ: _rule("see why one request waited or was refused", _O, _U, _A, _D),
    Permission.STATUS_READ: _rule("see who runs and who waits, over all organisations", _O, _U),
    Permission.KEYS_READ: _rule("see API keys, without their secrets", _O, _U, _A, _D),
    Permission.KEYS_CREATE: _rule("make API keys", _O, _A, _D),
    Permission.KEYS_ROTATE: _rule("give an API key a new secret", _O, _A, _D),
    Permission.KEYS_REVOKE: _rule("revoke API keys", _O, _A, _D),
    Permission.KEYS_REFUSE: _rule("refuse tokens (JWT) of an organisation, and accept them again", _O, _A, _D),
    Permission.PEOPLE_READ: _rule("see people and their roles", _O, _U, _A),
    Permission.PEOPLE_CREATE: _rule("make accounts of people", _O, _A),
    Permission.PEOPLE_GRANT: _rule("give people roles and take them away", _O, _A),
    Permission.PEOPLE_DISABLE: _rule("disable accounts and end sessions", _O, _A),
    Permission.PEOPLE_RESET: _rule("let people set up their sign-in anew", _O, _A),
    Permission.PEOPLE_REMOVE: _rule("forget people", _O, _A),
    Permission.TOKENS_READ: _rule("see administrative tokens, without their secrets", _O, _U, _A),
    Permission.TOKENS_CREATE: _rule("make administrative tokens", _O, _A),
    Permission.TOKENS_REVOKE: _rule("revoke administrative tokens", _O, _A),
    Permission.DOCUMENT_READ: _rule("read the document and its revisions", _O, _U),
    Permission.DOCUMENT_PLAN: _rule("ask what a document would change", _O),
    Permission.DOCUMENT_APPLY: _rule("put a document into force", _O),
    Permission.DOCUMENT_ROLL_BACK: _rule("put an older revision into force again", _O),
    Permission.AUDIT_READ: _rule("read the audit trail", _O, _U, _A),
    Permission.AUDIT_EXPORT: _rule("export the audit trail", _O, _U, _A),
    Permission.PRIVACY_READ: _rule("read the privacy report", _O, _U),
    Permission.PRIVACY_EXPORT: _rule("take out what is kept of one person", _O, _A),
    Permission.PRIVACY_ERASE: _rule("erase what is kept of one person", _O, _A),
}
"""By permission. A permission without a rule would be nobody's."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Over whom a permission is held: over everybody, or over these organisations (none: it is not held)."""

    everybody: bool
    organisations: frozenset[str]

    def __contains__(self, organisation: str | None) -> bool:
        return self.everybody or organisation in self.organisations

    def __bool__(self) -> bool:
        return self.everybody or bool(self.organisations)


def reach(actor: Actor, permission: Permission) -> Reach:
    """Over whom `actor` holds `permission`, by all grants together."""
    rule = RULES.get(permission)
    held = [] if rule is None else [grant for grant in actor.grants if grant.role in rule.roles]
    return Reach(any(g.organisation is None for g in held), frozenset(g.organisation for g in held if g.organisation is not None))


def may(actor: Actor, permission: Permission, organisation: str | None) -> bool:
    """Whether `actor` may, in a matter of `organisation`, or of the whole community where that is None."""
    return organisation in reach(actor, permission)


def may_give(actor: Actor, permission: Permission, grants: Iterable[Grant]) -> bool:
    """Whether `actor`, who acts by `permission`, may give or take all these grants: nobody hands out what reaches farther than
    what he holds himself. Whoever holds it over one organisation may give roles over that organisation only."""
    held = reach(actor, permission)
    return all(grant.organisation in held for grant in grants)


_SHORT = {Role.OPERATOR: "platform operator", Role.AUDITOR: "auditor", Role.ADMINISTRATOR: "administrator",
    Role.DEVELOPER: "developer", Role.FINANCE: "finance", Role.VIEWER: "viewer"}  # fmt: skip


def permissions_table() -> str:
    """The table in Markdown: a row for each permission, a column for each role; `all` and `own` say how far it reaches."""
    heading = ["permission", "may …", *(_SHORT[role] for role in Role)]
    rows = [heading, ["---"] * 2 + [":-:"] * len(Role)]
    for permission, rule in RULES.items():
        rows.append([f"`{permission}`", rule.about, *(_cell(role, rule) for role in Role)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _cell(role: Role, rule: Rule) -> str:
    if role not in rule.roles:
        return "–"
    return "all" if role in OVER_ALL else "own"
