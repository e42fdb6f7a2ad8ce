"""Ports for tests: see `bench.ports`."""

from bench.ports import free_port, free_ports

__all__ = ["free_port", "free_ports"]
