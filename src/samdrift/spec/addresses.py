"""Addresses to listen on: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and a port. `host` is written without brackets."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Can only this machine reach it?"""
        return ipaddress.ip_address(self.host).is_loopback

    def overlaps(self, other: Address) -> bool:
        """Would listening on both fail, because they are one port of one address, or one of them is every
        address?"""
        hosts = {self.host, other.host}
        return self.port == other.port and (len(hosts) == 1 or bool(hosts & {"0.0.0.0", "::"}))  # noqa: S104 - compared

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """An address from its text; `localhost` is 127.0.0.1, names are not looked up.

    Raises ValueError with a sentence.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError("This names no address and port.")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("An IPv6 address stands without its brackets.")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError("The port is not a number from 1 to 65535.")
    try:
        return Address(str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)), int(port))
    except ValueError:
        raise ValueError("This is no IP address.") from None
