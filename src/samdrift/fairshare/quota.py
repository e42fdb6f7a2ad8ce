"""Quota: how much of a stock (seats, tokens of cache) an organisation may hold, what it may borrow and what it lends.

The algebra is that of Kueue's cohorts (KEP-79), for requests instead of workloads. A node is due `nominal`; it may
hold `borrow` more than that, if others leave it (None: without limit), and lends at most `lend` of what it leaves
(None: all). What it does not lend is *kept*: nobody else ever holds it, and what a node holds within it does not show
at its parent. Everything else is the parent's to give. With T(x) for what x is given and kept less what it holds, for
every node, after every taking within `available` and every giving back,

    T(x) ≥ −borrow(x)

Where the stock itself shrinks, or a holding of an earlier life is taken in, it may be otherwise until enough has been
given back; nothing is admitted there meanwhile.
"""

from __future__ import annotations


class Quota:
    """A node: an organisation's, or a community's that has others beneath it. All steps are O(depth)."""

    __slots__ = ("_lend", "borrow", "given", "held", "parent")

    def __init__(
        self, nominal: float, parent: Quota | None = None, *, borrow: float | None = None, lend: float | None = None
    ) -> None:
        self.parent = parent
        self.borrow = borrow
        self._lend = lend
        self.given = 0.0
        """What it has in all: its own, and what its children do not keep."""
        self.held = 0.0
        """What it holds: its own, and what its children hold beyond what they keep."""
        self._grow(nominal)

    @property
    def kept(self) -> float:
        """What it has and nobody else may hold."""
        return 0.0 if self._lend is None else max(0.0, self.given - self._lend)

    @property
    def left(self) -> float:
        """T: what it has, less what it holds. Negative as far as it borrows."""
        return self.given - self.held

    def available(self) -> float:
        """How much more may be taken here: what it has kept, and what its parent has for it. Negative where too much is
        held already."""
        if self.parent is None:
            return self.left
        above = self.parent.available()
        own = self.kept - self.held
        if self.borrow is not None:
            # What it may still hold of its parent's: what it gave, and what it may borrow, less what it has of that.
            above = min(above, self.given - self.kept + min(0.0, own) + self.borrow)
        return max(0.0, own) + above

    def take(self, amount: float) -> None:
        """So much more is held here, whether it is available or not."""
        inside = max(0.0, self.kept - self.held)
        self.held += amount
        if self.parent is not None and amount > inside:
            self.parent.take(amount - inside)

    def give_back(self, amount: float) -> None:
        """So much less is held here."""
        beyond = self.held - self.kept
        self.held -= amount
        if self.parent is not None and beyond > 0:
            self.parent.give_back(min(amount, beyond))

    def _grow(self, amount: float) -> None:
        gave = self.given - self.kept
        self.given += amount
        if self.parent is not None:
            self.parent._grow(self.given - self.kept - gave)  # noqa: SLF001 - of its own kind
