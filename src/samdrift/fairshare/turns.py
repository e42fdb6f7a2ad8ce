"""Whose turn it is for one model: hierarchical start-time fair queueing over organisation, project and key.

The base is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), since capacity fluctuates and
nobody knows how long an answer will be. The charge is made at admission and settled once the cost is known
(as in Kubernetes API Priority and Fairness, KEP-1040).

**Turn.** The next is the child with the least `u` among those for whom somebody waits, at each level.

**Lift.** Whoever comes back after having nothing in line is lifted: u := max(u, v). No credit for having
been idle; and no debt for having used what others left idle, since v follows whoever is served.

**What holds.** Let ĉ be the charge at admission and c the cost at settlement of a request, Ĉ the largest ĉ/w
so far, and Ē the largest value so far, over organisations, of the sum of |c − ĉ|/w over what an organisation
has in flight. For every two organisations f, g that have somebody waiting, at any time and with any number
in flight:

    |u_f − u_g| ≤ Ĉ + 2Ē

*Why.* No waiting g is further below v than Ē: when v was set, u_g ≥ v, since the least was served (or g came
later and was lifted to v); after that u_g falls only by refunds of what was in flight then, for whatever is
admitted later nets c ≥ 0. And no waiting f is further above v than Ĉ + Ē: its last start tag was ≤ v, its
charge adds at most Ĉ, and after that u_f rises only by what requests in flight took beyond their charge; if
it was lifted since, it stood at v. ∎

A lag cap Λ is not needed *here*. With bands, an organisation that is "in profile" is served although others
have less `u`; a large refund makes it look in profile for long, so without Λ the gap has no bound. In a flat
order the least `u` always goes, provided that a refund re-keys at once (`lines`). When bands come, their
test for being in profile must hold u_f ≤ u_min + Λ, and Λ is added to the bound.

**Priorities** order requests inside an organisation only: one line of organisations, and beneath each a line
per priority. A child is lifted when it enters a line even if it stands in another: waiting as batch must not
earn interactive turns. So the bound holds among organisations always, and further down within one priority.
"""

from __future__ import annotations

from samdrift.fairshare.share import weights_of
from samdrift.fairshare.stimuli import Tree
from samdrift.fairshare.tickets import RANKS, Waiter
from samdrift.fairshare.tree import KEEP_IDLE, Branch, Leaf, Node, OrganisationNode, Project, Root

_ONE_LINE = (0,) * len(RANKS)
_BY_PRIORITY = tuple(range(len(RANKS)))


class Turns:
    """See the module. All steps are O(log n) in whoever waits."""

    __slots__ = ("root",)

    def __init__(self) -> None:
        # Bands can become lanes of the root: everything below asks `lane_of` and walks all lanes.
        self.root: Root = Branch("", None, 1.0, lane_of=_ONE_LINE, keep=None)

    def reach(self, tree: Tree, organisation: str, project: str, key: str) -> Leaf:
        """The node of this key, made if need be. Then it must be joined, resumed or corrected: an idle node
        has no business here."""
        member = self.root.children.get(organisation)
        if member is None:
            weight, _ = weights_of(tree, organisation, project)
            member = OrganisationNode(organisation, self.root, weight, lane_of=_BY_PRIORITY, keep=KEEP_IDLE)
            self.root.children[organisation] = member
        application = member.children.get(project)
        if application is None:
            _, weight = weights_of(tree, organisation, project)
            application = Project(project, member, weight, lane_of=_BY_PRIORITY, keep=KEEP_IDLE)
            member.children[project] = application
        leaf = application.children.get(key)
        if leaf is None:
            leaf = application.children[key] = Leaf(key, application, 1.0)
        return leaf

    def next(self) -> Waiter | None:
        """Whose turn it is, if anybody waits."""
        member = self.root.lines[0].first()
        if member is None:
            return None
        for standing, line in enumerate(member.lines):
            project = line.first()
            if project is not None:
                leaf = project.lines[standing].first()
                return leaf.head(standing) if leaf is not None else None
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
                if node.u < parent.v:
                    node.u = parent.v
                    _rekey(node, parent)
                parent.lines[lane].put(node)
            node = parent
        node.waiting += 1
        node.expected += waiter.expected

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
        return self._charge(waiter.leaf, charge)

    def resume(self, leaf: Leaf, charge: float) -> tuple[float, ...]:
        """A request of an earlier life runs beneath `leaf`, as if it had come and been served just now.
        Returns the weights on its path, leaf first."""
        node: Node = leaf
        while (parent := node.parent) is not None:
            if not node.waiting:
                node.u = max(node.u, parent.v)
            node = parent
        return self._charge(leaf, charge)

    def _charge(self, leaf: Leaf, charge: float) -> tuple[float, ...]:
        weights = []
        node: Node = leaf
        while (parent := node.parent) is not None:
            weights.append(node.weight)
            start = node.u
            node.u = start + charge / node.weight
            node.served += charge
            node.running += 1
            _rekey(node, parent)
            parent.advance(start)
            node = parent
        node.served += charge
        node.running += 1
        return tuple(weights)

    def settle(self, leaf: Leaf, weights: tuple[float, ...], difference: float) -> None:
        """A request beneath `leaf` runs no longer; it took `difference` more (or less) than it was
        charged."""
        self._adjust(leaf, weights, difference, ended=1)

    def correct(self, leaf: Leaf, weights: tuple[float, ...], difference: float) -> None:
        """A request that is not counted as running any more took `difference` more (or less) than it was
        charged."""
        self._adjust(leaf, weights, difference, ended=0)

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

    def reweigh(self, tree: Tree) -> None:
        """Weights follow the document; those of whoever has left it stay until they are done. O(n), not on
        the path of a request. Virtual times stay: what was served under the old weights is settled."""
        for name, member in self.root.children.items():
            if name not in tree.organisations:
                continue
            for title, project in member.children.items():
                member.weight, project.weight = weights_of(tree, name, title)
            member.reweigh()
        self.root.reweigh()

    def _adjust(self, leaf: Leaf, weights: tuple[float, ...], difference: float, *, ended: int) -> None:
        node: Node = leaf
        for weight in weights:
            parent = node.parent
            if parent is None:
                break
            node.u += difference / weight
            node.served += difference
            node.running -= ended
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


def _rekey(node: Node, parent: Branch[Node]) -> None:
    """`u` has changed: a new entry in each line where `node` stands."""
    for lane, stamp in enumerate(node.stamps):
        if stamp:
            parent.lines[lane].put(node)
