"""Whose turn it is for one model: hierarchical start-time fair queueing over organisation, project and key, with bands
among organisations.

The base is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), since capacity fluctuates and nobody knows how
long an answer will be. The charge is made at admission and settled once the cost is known (as in Kubernetes API Priority
and Fairness, KEP-1040).

**Turn.** Among organisations `bands` says who is next: within a band, the least `u`. Below, the next is the child with
the least `u` among those for whom somebody waits, at each level.

**Lift.** Whoever comes back after having nothing in line is lifted to u := max(u, s). Below organisations s is v, the
largest start tag so far; among organisations it is the least `u` that waits in the same class, if that is less. No
credit for having been idle; and no debt for having used what others left idle, since s follows whoever is served. (With
bands, v may be ahead of the least served by Λ. To lift to v would hand that lag to whoever comes and goes, which is who
the bands are for, while those who always wait would profit.)

**What holds.** Let ĉ be the charge at admission and c the cost at settlement of a request, Ĉ the largest ĉ/w so far, and
Ē the largest value so far, over organisations, of the sum of |c − ĉ|/w over what an organisation has in flight (what
`Progress` adds counts as part of c − ĉ). Λ is the largest lag cap so far. For every two organisations f, g that have
somebody waiting in one class (interactive and standard, or batch), nobody in the other, and may take more, at any time and
with any number in flight:

    |u_f − u_g| ≤ Λ + Ĉ + 2Ē

*Why.* Let t be f's last turn since it stands in this line. Either it went ahead: then u_f ≤ u_g for every g in profile and
u_f ≤ u_g + Λ for every borrower; or it was the least of its class. The turn adds at most Ĉ. After it u_f rises only by
what its requests in flight take beyond their charge, and u_g falls only by refunds of what g had in flight at t, for
whatever it is served later nets c ≥ 0. A g that came after t was lifted to v, which is no less than f's start tag, or to
the least h that waited, for which the bound held. If f has had no turn since it came, it was lifted to no more than any g
that waited; or it was not, since it was ahead of s by its own last turn, whose start tag was at most v, and v is the start
tag of some turn, for which the above holds. ∎ (A lapsed ticket counts as in flight until its receipt comes or it is
forgotten.)

**Exceptions, by design.** A ticket resumed from an earlier life while others wait is charged out of turn. Whoever was
blocked by a limit of its own (`borrow`) is lifted when it may go on, and the time it was blocked is its own. Where all
seats that are left are kept (`lend`), only those who keep them go on. Backfill past a giant request (`dispatch`) adds
at most its budget. Who asks for an adapter is passed to seats where that is not had (`adapters`). Between the two
classes there is no such bound: the first class passes batch in profile as long as it is itself in profile and not ahead
by more than Λ, and borrowed interactive requests go before borrowed batch, however long; that is protected within its
share (band 1), by age and, inside its organisation, by the floor of 5 %.

**Guarantee.** While f waits continuously in the first class and all others ask in it too, of X served by the pool it is
charged A_f ≥ φ_f·X − w_f·K with K = Λ + 2Ĉ + 4Ē and φ_f = w_f/W: every other g has A_g ≤ w_g(u_g(t₂) − s_g), where s_g
is where it stood at t₁ or was lifted to later, since lifts only raise u_g; by the bound u_g(t₂) ≤ u_f(t₂) + Λ + Ĉ + 2Ē, and
s_g ≥ u_f(t₁) − Ĉ − 2Ē for who comes after t₁; sum over g. The random tests hold it to this K. Not proven: the same for
batch against interactive (design: larger by 1/φ_f); anything about seconds (they follow only where the pool's rate is
known); the bounds across a change of weights, for which only the tests speak; and that K is as small as it could be.

**Priorities** order requests inside an organisation, where a line of the tree stands for each. `standard` is between
interactive and batch, and shares a band with interactive: an application that waits is no less urgent to its
organisation's share, only to its own people. A child is lifted when it enters a line even if it stands in another:
waiting as batch must not earn interactive turns. While batch waits behind the others it is owed 5 % of what its
organisation is served, and goes first once it can be paid from that.
"""

from __future__ import annotations

from samdrift.fairshare.amounts import weight_within
from samdrift.fairshare.bands import Bands
from samdrift.fairshare.crowds import leaf_name
from samdrift.fairshare.members import BATCH, CLASS_OF, Member, Root
from samdrift.fairshare.nominal import Nominal
from samdrift.fairshare.stimuli import Tree
from samdrift.fairshare.tickets import Waiter
from samdrift.fairshare.tree import KEEP_IDLE, Branch, Leaf, Node, Project

FLOOR = 0.05
"""The part of its organisation's service that batch gets at least, while it waits."""


class Turns:
    """See the module. All steps are O(log n) in whoever waits."""

    __slots__ = ("bands", "nominal", "root", "weights")

    def __init__(self, nominal: Nominal) -> None:
        self.nominal = nominal
        self.bands = Bands(nominal)
        self.root: Root = self.bands.root
        self.weights: dict[str, float] = {}
        """Of organisations, for this model; 1 for those it does not name."""

    def reach(self, tree: Tree, organisation: str, project: str, key: str) -> Leaf:
        """The node of this key, made if need be. Then it must be joined, charged or corrected: an idle node has no
        business here."""
        member = self.root.children.get(organisation)
        if member is None:
            member = Member(organisation, self.root, self.weights.get(organisation, 1.0))
            self.root.children[organisation] = member
        application = member.children.get(project)
        if application is None:
            weight = _weight_of_project(tree, organisation, project)
            application = Project(project, member, weight, lane_of=member.lane_of, keep=KEEP_IDLE)
            member.children[project] = application
        leaf = application.children.get(key)
        if leaf is None:
            key = leaf_name(application, key)
            leaf = application.children.get(key)
            if leaf is None:
                leaf = application.children[key] = Leaf(key, application, 1.0)
        return leaf

    def next(self, among: list[Member] | None = None) -> tuple[Waiter, int] | None:
        """Whose turn it is and in which band, if anybody is in line; `among` these organisations only, if they are
        given."""
        turn = self.bands.next() if among is None else self.bands.next_among(among)
        if turn is None:
            return None
        member, band = turn
        for standing in self._order(member, band):
            waiter = _head(member, standing)
            if waiter is not None:
                return waiter, band
        return None

    def join(self, waiter: Waiter) -> None:
        """To the end of the line of its key and standing; whoever had nothing in that line is lifted."""
        waiter.leaf.append(waiter)
        node: Node = waiter.leaf
        while (parent := node.parent) is not None:
            node.waiting += 1
            node.expected += waiter.expected
            lane = parent.lane_of[waiter.standing]
            node.backlog[lane] += 1
            if node.backlog[lane] == 1:
                start = parent.start(lane) if isinstance(parent, Root) else parent.v
                if node.u < start:
                    node.u = start
                    _rekey(node, parent)
                parent.lines[lane].put(node)
            node = parent
        node.waiting += 1
        node.expected += waiter.expected
        member = member_of(waiter.leaf)
        member.expected_by[waiter.standing] += waiter.expected
        if member.waiting == 1:
            self.root.waiting_weight += member.weight
        if member.backlog[0] == 1 and not CLASS_OF[waiter.standing]:
            self.bands.burst(member)

    def leave(self, waiter: Waiter) -> None:
        """Out of line without a turn."""
        self._depart(waiter)
        self.rest(waiter.leaf)

    def promote(self, waiter: Waiter) -> None:
        """One standing up, to the end of that line of its key, as if it had come now."""
        old = waiter.standing
        # First in, then out: an organisation must not seem to have left its line in between, and be lifted.
        waiter.standing = old - 1
        self.join(waiter)
        waiter.standing = old
        self._depart(waiter)
        waiter.standing = old - 1

    def serve(self, waiter: Waiter, charge: float) -> tuple[float, ...]:
        """Its turn: out of line, and charged. Returns the weights on its path, leaf first."""
        self._depart(waiter)
        member = member_of(waiter.leaf)
        if waiter.standing == BATCH:
            member.owed = max(0.0, member.owed - charge)
        elif member.backlog_of(BATCH):
            member.owed += charge * FLOOR / (1 - FLOOR)
        return self.charge(waiter.leaf, charge)

    def charge(self, leaf: Leaf, charge: float) -> tuple[float, ...]:
        """A request beneath `leaf` runs and is charged; it need not have stood in line. Returns the weights on its path,
        leaf first."""
        weights = []
        node: Node = leaf
        while (parent := node.parent) is not None:
            weights.append(node.weight)
            start = node.u
            node.u = start + charge / node.weight
            node.served += charge
            node.running += 1
            if isinstance(node, Member):
                self.bands.fill(node, charge / node.weight)
                self.nominal.serve(charge)
                self.bands.judge(node, rekey=True)
            else:
                _rekey(node, parent)
            parent.advance(start)
            node = parent
        node.served += charge
        node.running += 1
        self.bands.set_back()
        return tuple(weights)

    def overrun(self, leaf: Leaf, weights: tuple[float, ...], excess: float) -> None:
        """A request beneath `leaf`, which still runs, has taken so much beyond what it was charged."""
        self._adjust(leaf, weights, excess, ended=0)

    def settle(self, leaf: Leaf, weights: tuple[float, ...], difference: float) -> None:
        """A request beneath `leaf` runs no longer; it took `difference` more (or less) than it was charged."""
        self._adjust(leaf, weights, difference, ended=1)

    def correct(self, leaf: Leaf, weights: tuple[float, ...], difference: float) -> None:
        """A request that is not counted as running any more took `difference` more (or less) than it was charged."""
        self._adjust(leaf, weights, difference, ended=0)

    def block(self, member: Member) -> None:
        """It may not take more: out of all lines among organisations, until it is unblocked."""
        member.blocked = True
        for line in self.root.classes:
            line.take(member)

    def unblock(self, member: Member, *, lift: bool) -> None:
        """It may go on. With `lift`, as if it came back now: no credit for the time it was blocked by its own limit."""
        if not member.blocked:
            return
        member.blocked = False
        if lift:
            member.u = max(member.u, self.root.start())
        for lane, line in enumerate(self.root.classes):
            if member.backlog[lane]:
                line.put(member)
        self.bands.judge(member)

    def set_aside(self, waiter: Waiter) -> None:
        """The line of its key and standing is passed, and whatever has nobody else in line: until it is put back. O(1)."""
        standing, project, member = waiter.standing, project_of(waiter.leaf), member_of(waiter.leaf)
        project.lines[standing].take(waiter.leaf)
        if not project.lines[standing].live:
            member.lines[standing].take(project)
        lane = CLASS_OF[standing]
        if not any(line.live for line, at in zip(member.lines, CLASS_OF, strict=True) if at == lane):
            self.root.classes[lane].take(member)

    def put_back(self, waiter: Waiter) -> None:
        """It stands in line where it stood, and nobody was served there meanwhile."""
        standing, project, member = waiter.standing, project_of(waiter.leaf), member_of(waiter.leaf)
        project.lines[standing].put(waiter.leaf)
        member.lines[standing].put(project)
        self.root.classes[CLASS_OF[standing]].put(member)
        self.bands.judge(member)

    def stand(self, organisation: str, u: float) -> None:
        """An organisation had been served to `u` in an earlier life."""
        member = self.root.children.get(organisation)
        if member is None:
            if u > self.root.v:
                member = Member(organisation, self.root, self.weights.get(organisation, 1.0))
                self.root.children[organisation] = member
                member.u = u
                self.root.retire(member)
            return
        member.u = u
        self.bands.judge(member, rekey=True)

    def rest(self, leaf: Leaf) -> None:
        """Forget what can be forgotten on the path of `leaf`, from the highest node that is idle."""
        node: Node = leaf
        if node.busy:
            return
        while node.parent is not None and not node.parent.busy:
            node = node.parent
        if isinstance(node, Branch):
            node.level()
        if node.parent is not None:
            node.parent.retire(node)

    def reweigh(self, tree: Tree, weights: dict[str, float]) -> None:
        """Weights follow the document; those of whoever has left it stay until they are done. O(n), not on the path of
        a request. Virtual times stay: what was served under the old weights is settled."""
        self.weights = weights
        for name, member in self.root.children.items():
            if name not in tree.organisations:
                continue
            member.weight = weights.get(name, 1.0)
            for title, project in member.children.items():
                project.weight = _weight_of_project(tree, name, title)
            member.reweigh()
        self.root.reweigh()
        self.root.waiting_weight = sum(m.weight for m in self.root.children.values() if m.waiting)

    def _order(self, member: Member, band: int) -> tuple[int, ...]:
        """In which order its standings are looked at. Only those of the class whose turn it is; but batch goes first in
        any class where it can be paid from what it is owed."""
        if band % 2:
            return (BATCH,)
        if member.owed > 0:
            first = _head(member, BATCH)
            if first is not None and member.owed >= first.expected:
                return (BATCH,)
        return (0, 1)

    def _adjust(self, leaf: Leaf, weights: tuple[float, ...], difference: float, *, ended: int) -> None:
        node: Node = leaf
        for weight in weights:
            parent = node.parent
            if parent is None:
                break
            node.u += difference / weight
            node.served += difference
            node.running -= ended
            if isinstance(node, Member):
                self.bands.fill(node, difference / weight)
                self.nominal.serve(difference)
                # Where nothing changes it keeps its turn among equals: else receipts would shuffle them.
                self.bands.judge(node, rekey=difference != 0.0)
            elif difference:
                _rekey(node, parent)
            node = parent
        self.root.served += difference
        self.root.running -= ended
        self.rest(leaf)

    def _depart(self, waiter: Waiter) -> None:
        waiter.leaf.remove(waiter)
        node: Node = waiter.leaf
        while (parent := node.parent) is not None:
            node.waiting -= 1
            node.expected = node.expected - waiter.expected if node.waiting else 0.0  # sums of floats drift
            lane = parent.lane_of[waiter.standing]
            node.backlog[lane] -= 1
            if not node.backlog[lane]:
                parent.lines[lane].take(node)
            node = parent
        node.waiting -= 1
        node.expected = node.expected - waiter.expected if node.waiting else 0.0
        member = member_of(waiter.leaf)
        standing = waiter.standing
        left = member.expected_by[standing] - waiter.expected
        member.expected_by[standing] = left if member.waiting else 0.0
        if not member.waiting:
            waiting = self.root.waiting_weight - member.weight
            self.root.waiting_weight = waiting if node.waiting else 0.0
        if standing == BATCH and not member.backlog_of(BATCH):
            member.owed = 0.0


def project_of(leaf: Leaf) -> Project:
    """The project above a key."""
    project = leaf.parent
    assert project is not None  # noqa: S101 - the tree is three deep
    return project


def member_of(leaf: Leaf) -> Member:
    """The organisation above a key."""
    member = project_of(leaf).parent
    assert isinstance(member, Member)  # noqa: S101 - the tree is three deep
    return member


def _head(member: Member, standing: int) -> Waiter | None:
    project = member.lines[standing].first()
    if project is None:
        return None
    leaf = project.lines[standing].first()
    return leaf.head(standing) if leaf is not None else None


def _weight_of_project(tree: Tree, organisation: str, project: str) -> float:
    share = tree.organisations.get(organisation)
    return 1.0 if share is None else weight_within(share.projects.get(project, 1.0))


def _rekey(node: Node, parent: Branch[Node]) -> None:
    """`u` has changed: a new entry in each line where `node` stands."""
    for lane, stamp in enumerate(node.stamps):
        if stamp:
            parent.lines[lane].put(node)
