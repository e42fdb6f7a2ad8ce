"""`python -m samdrift.cli` is `samdrift`."""

from samdrift.cli import main

main(prog_name="samdrift")
