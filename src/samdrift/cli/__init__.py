"""The commands: what a person types. Each has an example in its help, and `--json` where it prints data.

Exit codes: 0, 1 (the answer is no), 2 (used wrongly).
"""

from __future__ import annotations

import importlib

import click

from samdrift import __version__

_COMMANDS = {
    "api": ("samdrift.cli.processes", "api_command", "Run the API alone, as in a cluster."),
    "apply": ("samdrift.cli.document", "apply_command", "Put a changed document into force, as a new revision."),
    "audit": ("samdrift.cli.audit", "audit_group", "What was done and refused, and whether the trail of it is whole."),
    "certs": ("samdrift.cli.certs", "certs_group", "Certificates for a test community: authority, server, members."),
    "chat": ("samdrift.cli.chat", "chat_command", "Talk to a model in the terminal, streaming."),
    "check": ("samdrift.cli.check_kubernetes", "check_group", "Say everything that is wrong with a document, or with manifests."),
    "control": ("samdrift.cli.control", "control_command", ""),
    "desk": ("samdrift.cli.processes", "desk_command", "Run an admission desk alone, one of two, as in a cluster."),
    "docs": ("samdrift.cli.docs", "docs_command", "Write the generated pages of the reference."),
    "doctor": ("samdrift.cli.doctor", "doctor_command", "What is missing on this machine, and how to mend it."),
    "down": ("samdrift.cli.down", "down_command", "End what a killed service has left behind."),
    "history": ("samdrift.cli.document", "history_command", "The revisions of the document: who changed what, when and why."),
    "keys": ("samdrift.cli.keys", "keys_group", "Create, list, rotate and revoke API keys."),
    "members": ("samdrift.cli.members", "members_command", "The organisations of the community, and what each is due."),
    "models": ("samdrift.cli.models", "models_group", "The weights of models: looked at, fetched, compared, removed, pinned."),
    "migrate": ("samdrift.cli.processes", "migrate_command", "Bring the tables of a ledger up to date."),
    "people": ("samdrift.cli.people", "people_group", "Who may sign in, and with which roles."),
    "plan": ("samdrift.cli.document", "plan_command", "What a document would change in the service that runs."),
    "privacy": ("samdrift.cli.privacy", "privacy_group", "What is kept of whom: shown, tried out, given out, erased."),
    "render": ("samdrift.cli.render", "render_group", "The same document as manifests for a cluster."),
    "replay": ("samdrift.cli.replay", "replay_command", "A recorded day under other shares: who would have waited how long."),
    "rollback": ("samdrift.cli.document", "rollback_command", "Put an older revision into force again."),
    "schema": ("samdrift.cli.check", "schema_command", "Print the JSON Schema of the document."),
    "simulate": ("samdrift.cli.simulate", "simulate_command", "What if: workloads, schedulers and shares, in virtual time."),
    "status": ("samdrift.cli.status", "status_command", "Who runs, who waits, whose share is used: live."),
    "tokens": ("samdrift.cli.tokens", "tokens_group", "Create, list and revoke administrative tokens."),
    "up": ("samdrift.cli.up", "up_command", "Run a whole community on this machine."),
    "usage": ("samdrift.cli.usage", "usage_command", "Tokens and requests, by organisation."),
    "worker": ("samdrift.cli.processes", "worker_command", "Run the upkeep of the ledger alone, as in a cluster."),
    "why": ("samdrift.cli.why", "why_command", "Why a request waited, went in or was refused."),
}


class _Commands(click.Group):
    """Imports a command's module only when it is used: `samdrift keys` need not load Envoy's protocols."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(name for name, (_, _, line) in _COMMANDS.items() if line)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="samdrift")
def main() -> None:
    """Many organisations run language models as one commons.

    \b
    Start here:
      samdrift up --demo            a community of three, with two small real models
      samdrift check community.yaml
      samdrift COMMAND --help       each with examples
    """
