"""`samdrift chat`: talk to a model in the terminal, streaming."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click
import httpx


@click.command("chat")
@click.argument("model")
@click.option("--url", default="http://127.0.0.1:8080", envvar="SAMDRIFT_URL", show_default=True, help="The entrance.")
@click.option("--key", envvar="SAMDRIFT_API_KEY", help="An API key; better in SAMDRIFT_API_KEY.")
@click.option("--max-tokens", type=click.IntRange(1), default=400, show_default=True, help="The longest answer.")
def chat_command(model: str, url: str, key: str | None, max_tokens: int) -> None:
    """Talk to MODEL. One line is one message; Ctrl-C breaks an answer off; an empty line or Ctrl-D ends it all. Nothing is
    stored anywhere.

    \b
    Examples:
      export SAMDRIFT_API_KEY=sd-…
      samdrift chat chat-small
      echo "What is a commons?" | samdrift chat chat-small
    """
    if not key:
        raise click.UsageError("No API key: put one in SAMDRIFT_API_KEY. `samdrift keys create ORGANISATION` makes one.")
    said: list[dict[str, str]] = []
    people = sys.stdin.isatty()
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=httpx.Timeout(10, read=600)) as http:
        while line := _line(people):
            said.append({"role": "user", "content": line})
            answer = ""
            try:
                for piece in _answer(http, {"model": model, "messages": said, "stream": True, "max_tokens": max_tokens}):
                    answer += piece
                    click.echo(piece, nl=False)
            except KeyboardInterrupt:
                if not people:
                    raise
                click.echo(" … broken off", nl=False)  # what came is on the account, to the token, and in the conversation
            except httpx.TransportError as error:
                click.echo(f"Nothing answers at {url}: {error}. `samdrift up --demo` starts a community.", err=True)
                sys.exit(1)
            click.echo()
            said.append({"role": "assistant", "content": answer})


def _line(people: bool) -> str:
    if people:
        try:
            return input("› ").strip()
        except (EOFError, KeyboardInterrupt):
            return ""
    return sys.stdin.readline().strip()


def _answer(http: httpx.Client, body: dict[str, Any]) -> Iterator[str]:
    """The pieces of the answer, as they come. Says why and ends the program if the answer is no."""
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            response.read()
            try:
                message = response.json()["error"]["message"]
            except (ValueError, KeyError, TypeError):
                message = response.text[:200]
            click.echo(f"{response.status_code}: {message}", err=True)
            sys.exit(1)
        for line in response.iter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:]).get("choices", []):
                    yield choice.get("delta", {}).get("content") or ""
