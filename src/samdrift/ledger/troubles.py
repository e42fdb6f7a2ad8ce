"""What goes wrong with a database, said in two ways.

    LedgerUnavailable   the database cannot be used now: away, locked, full, too new. Try again later.
    ValueError          this value can never be stored. Trying again changes nothing.

Both carry the driver's own exception as their cause. Neither holds a password or a parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError


class LedgerUnavailable(Exception):  # noqa: N818 - it is a state of the world, not a mistake in the program
    """The ledger cannot be read or written at the moment. Nothing was changed; the cause is chained."""


@contextmanager
def speaking(about: str) -> Iterator[None]:
    """Turn what a driver raises into the two exceptions above. `about` completes the sentence "could not …".

    Raises LedgerUnavailable or ValueError.
    """
    try:
        yield
    except (DataError, IntegrityError, OverflowError, UnicodeEncodeError) as error:
        raise ValueError(f"could not {about}: {_first_line(error)}") from error
    except (SQLAlchemyError, OSError) as error:
        raise LedgerUnavailable(f"could not {about}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(told).strip().partition("\n")[0] or type(told).__name__
