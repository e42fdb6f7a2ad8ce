"""Quota: our tree against a straight model of Kueue's algebra, and what must hold of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.fairshare.quota import Quota

amounts = st.integers(0, 12)
limits = st.none() | st.integers(0, 12)


class Model:
    """Kueue's resource node, as its documents describe it, step by step and without thought: quotas are added up anew for
    every question, and every holding is told to the parent by the rule for each."""

    def __init__(self, nominal, parent=None, borrow=None, lend=None):
        self.nominal, self.parent, self.borrow, self.lend, self.children, self.usage = nominal, parent, borrow, lend, [], 0
        if parent is not None:
            parent.children.append(self)

    def subtree(self):
        return self.nominal + sum(child.subtree() - child.local() for child in self.children)

    def local(self):
        return 0 if self.lend is None else max(0, self.subtree() - self.lend)

    def available(self):
        if self.parent is None:
            return self.subtree() - self.usage
        local_available = max(0, self.local() - self.usage)
        parent_available = self.parent.available()
        if self.borrow is not None:
            stored_in_parent = self.subtree() - self.local()
            used_in_parent = max(0, self.usage - self.local())
            parent_available = min(parent_available, stored_in_parent - used_in_parent + self.borrow)
        return local_available + parent_available

    def add(self, amount):
        local_available = max(0, self.local() - self.usage)
        self.usage += amount
        if self.parent is not None and amount > local_available:
            self.parent.add(amount - local_available)

    def remove(self, amount):
        stored_in_parent = self.usage - self.local()
        self.usage -= amount
        if self.parent is not None and stored_in_parent > 0:
            self.parent.remove(min(amount, stored_in_parent))


@st.composite
def trees(draw):
    """Pairs of nodes, ours and the model's, of a random tree at most four deep; parents come first."""
    nodes = [(Quota(draw(amounts)), None)]
    nodes[0] = nodes[0][0], Model(nodes[0][0].given)
    depths = [1]
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.sampled_from([n for n, depth in enumerate(depths) if depth < 4]))
        nominal, borrow, lend = draw(amounts), draw(limits), draw(limits)
        ours, model = nodes[place]
        nodes.append((Quota(nominal, ours, borrow=borrow, lend=lend), Model(nominal, model, borrow, lend)))
        depths.append(depths[place] + 1)
    leaves = [pair for pair in nodes if not pair[1].children]
    return nodes, leaves


@settings(deadline=None)
@given(tree=trees(), data=st.data())
def test_ours_is_kueues_algebra(tree, data):
    nodes, leaves = tree
    held = dict.fromkeys(range(len(leaves)), 0)
    for _ in range(data.draw(st.integers(1, 30))):
        place = data.draw(st.integers(0, len(leaves) - 1))
        ours, model = leaves[place]
        if data.draw(st.booleans()) and held[place]:
            amount = data.draw(st.integers(1, held[place]))
            ours.give_back(amount)
            model.remove(amount)
            held[place] -= amount
        else:
            amount = data.draw(amounts)  # whether it is available or not: as a holding of an earlier life may be
            ours.take(amount)
            model.add(amount)
            held[place] += amount
        for mine, straight in nodes:
            assert mine.held == straight.usage
            assert mine.kept == straight.local()
            assert mine.given == straight.subtree()
            assert mine.available() == straight.available()


@settings(deadline=None)
@given(tree=trees(), data=st.data())
def test_nobody_borrows_more_than_they_may_if_only_what_is_available_is_taken(tree, data):
    """T(x) ≥ −borrow(x) for every node, always (KEP-79), and at the root nothing is taken that is not there."""
    nodes, leaves = tree
    held = dict.fromkeys(range(len(leaves)), 0)
    for _ in range(data.draw(st.integers(1, 30))):
        place = data.draw(st.integers(0, len(leaves) - 1))
        ours, _ = leaves[place]
        amount = data.draw(amounts)
        if amount <= ours.available():
            ours.take(amount)
            held[place] += amount
        elif held[place]:
            ours.give_back(held[place])
            held[place] = 0
        for node, _ in nodes:
            assert node.left >= 0 if node.parent is None else node.borrow is None or node.left >= -node.borrow
