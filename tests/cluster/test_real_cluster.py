"""The real thing: Kubernetes' own API server takes every object, and Kueue decides as our quota tree says."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.cluster import control_plane as real
from tests.cluster.definitions import folder

from samdrift.cluster.places import Place
from samdrift.cluster.queues import manager_configuration
from samdrift.cluster.rendering import manifests_of
from samdrift.fairshare.quota import Quota
from samdrift.reading import read_document

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("cluster-*"))
pytestmark = [pytest.mark.skipif(bool(real.missing()), reason=real.missing() or ""), pytest.mark.timeout(900)]
needs_kueue = pytest.mark.skipif(bool(real.no_kueue()), reason=real.no_kueue() or "")


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with real.control_plane(tmp_path_factory.mktemp("plane")) as started:
        started.install(folder())
        if not real.no_kueue():
            started.start_kueue(manager_configuration())
        yield started


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_api_server_takes_every_object_without_a_warning(plane, example):
    plane.warnings.clear()
    manifests = manifests_of(read_document(example), "0.1.0", texts={"community.yaml": "samdrift: 1\n"})
    refused = []
    for one in manifests:
        try:
            plane.apply(one.body)
        except real.Refused as error:
            refused.append(str(error))
    assert refused == []
    assert plane.warnings == []


# Kueue and our tree


def node(name, devices, labels):
    room = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": str(devices)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"allocatable": room, "capacity": room},
    }


def servers(name, namespace, replicas):
    """Engines that pretend to serve, one device each."""
    labels = {"kueue.x-k8s.io/queue-name": "llm"}
    container = {
        "name": "engine",
        "image": "engine",
        "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "1", "memory": "1Gi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, **labels}},
                "spec": {"automountServiceAccountToken": False, "containers": [container]},
            },
        },
    }


@needs_kueue
def test_a_member_borrows_idle_devices_and_gives_them_back_when_their_owner_returns(plane):
    spec = read_document(Path(__file__).parent / "three-members.yaml")
    place = Place(spec, spec.cluster, "0.1.0")
    for one in manifests_of(spec, "0.1.0"):
        plane.apply(one.body)
    for number in range(2):
        plane.create(node(f"gpu-{number}", 3, {"gpu": "h100"}))
    # What the document says, as our tree: 3 devices are a's, 3 are b's, c has none of its own.
    root = Quota(0)
    shared, members = Quota(0, root, borrow=0, lend=0), Quota(0, root)
    a, b, c = Quota(3, members), Quota(3, members), Quota(0, members)
    assert shared.available() == 0
    quota = {name: plane.get("kueue.x-k8s.io/v1beta2", "ClusterQueue", f"samdrift-org-{name}") for name in "abc"}
    nominal = {name: q["spec"]["resourceGroups"][0]["flavors"][0]["resources"][0]["nominalQuota"] for name, q in quota.items()}
    assert nominal == {"a": "3", "b": "3", "c": "0"}

    def running():
        found = {}
        for name in "abc":
            pods = plane.list("v1", "Pod", place.org(name))
            found[name] = sum(p["status"].get("phase") == "Running" and "deletionTimestamp" not in p["metadata"] for p in pods)
        return found

    def comes_to(expected, sentence):
        plane.until(lambda: running() == expected, f"{sentence}: {running()} becomes {expected}")

    # a wants five: its own three, and two that b leaves idle.
    assert a.available() == 6
    a.take(5)
    plane.apply(servers("engines", place.org("a"), 5))
    comes_to({"a": 5, "b": 0, "c": 0}, "a borrows what b leaves idle")
    # b comes back for its three. One is free; two it must have back from a.
    assert b.available() == 1
    a.give_back(2)
    assert b.available() == 3
    b.take(3)
    plane.apply(servers("engines", place.org("b"), 3))
    comes_to({"a": 3, "b": 3, "c": 0}, "b reclaims")
    # c has nothing of its own and nothing is idle: it waits.
    assert c.available() == 0
    plane.apply(servers("engines", place.org("c"), 1))

    def c_is_told():
        told = [
            w.get("status", {}).get("conditions", []) for w in plane.list("kueue.x-k8s.io/v1beta2", "Workload", place.org("c"))
        ]
        return any(x["type"] == "QuotaReserved" and x["status"] == "False" for t in told for x in t)

    plane.until(c_is_told, "c is queued")
    assert running() == {"a": 3, "b": 3, "c": 0}
    # One of b's goes. Both a and c may have it, and both would then borrow one: a has waited longer.
    b.give_back(1)
    assert a.available() == c.available() == 1
    a.take(1)
    plane.apply(servers("engines", place.org("b"), 2))
    comes_to({"a": 4, "b": 2, "c": 0}, "among those who borrow alike the first in line is served")
    # Another goes. a waits longest still, but would borrow two; c borrows one.
    b.give_back(1)
    assert a.available() == c.available() == 1
    c.take(1)
    plane.apply(servers("engines", place.org("b"), 1))
    comes_to({"a": 4, "b": 1, "c": 1}, "who borrows least is served")


FLAVOUR, RESOURCE = "plain", "samdrift.org/unit"
TREES, EVENTS = 200, 10


class Tree:
    """A random tree at most four deep, as our quotas and as Kueue's objects."""

    def __init__(self, number):
        self.draw = random.Random(f"tree {number}")
        self.name = f"t{number}"
        self.objects, self.leaves = [], []
        root = Quota(self.draw.randint(0, 6))
        self.cohort(f"{self.name}-c", root, None, {"nominalQuota": str(int(root.given))})
        self.grow(f"{self.name}-c", root, 1)

    def grow(self, name, quota, depth):
        for place in range(self.draw.randint(1, 3) if depth > 1 else self.draw.randint(2, 4)):
            nominal = self.draw.randint(0, 6)
            borrow, lend = self.limit(6), self.limit(nominal)  # Kueue takes no lending limit beyond the nominal quota
            child = Quota(nominal, quota, borrow=borrow, lend=lend)
            said = {"nominalQuota": str(nominal)}
            said |= {} if borrow is None else {"borrowingLimit": str(borrow)}
            said |= {} if lend is None else {"lendingLimit": str(lend)}
            if depth < 3 and self.draw.random() < 0.3:
                self.cohort(f"{name}{place}", child, name, said)
                self.grow(f"{name}{place}", child, depth + 1)
            else:
                self.leaf(f"{name.replace('-c', '-q')}{place}", child, name, said)

    def limit(self, most):
        return None if self.draw.random() < 0.4 else self.draw.randint(0, most)

    def groups(self, said):
        flavours = [{"name": FLAVOUR, "resources": [{"name": RESOURCE, **said}]}]
        return {"resourceGroups": [{"coveredResources": [RESOURCE], "flavors": flavours}]}

    def cohort(self, name, quota, parent, said):
        spec = {**self.groups(said), **({"parentName": parent} if parent else {})}
        self.objects.append({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Cohort", "metadata": {"name": name}, "spec": spec})

    def leaf(self, name, quota, parent, said):
        self.objects.append(
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2",
                "kind": "ClusterQueue",
                "metadata": {"name": name},
                "spec": {**self.groups(said), "cohortName": parent, "namespaceSelector": {}},
            }
        )
        self.objects.append(
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2",
                "kind": "LocalQueue",
                "metadata": {"name": name, "namespace": "trees"},
                "spec": {"clusterQueue": name},
            }
        )
        self.leaves.append((name, quota))


def workload(name, queue, amount):
    container = {"name": "main", "image": "none", "resources": {"requests": {RESOURCE: str(amount)}}}
    pods = {"name": "main", "count": 1, "template": {"spec": {"containers": [container], "restartPolicy": "Never"}}}
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {"name": name, "namespace": "trees"},
        "spec": {"queueName": queue, "podSets": [pods]},
    }


def play(plane, tree):
    """Events on one tree; after each, Kueue has decided as our tree says. Returns how many were admitted and not."""
    held, said = [], [0, 0]
    for number in range(EVENTS):
        if held and tree.draw.random() < 0.3:
            name, quota, amount = held.pop(tree.draw.randrange(len(held)))
            gone(plane, name)
            quota.give_back(amount)
            continue
        queue, quota = tree.draw.choice(tree.leaves)
        amount, name = tree.draw.randint(1, 8), f"{tree.name}-w{number}"
        fits = amount <= quota.available()
        plane.create(workload(name, queue, amount))
        admitted = decided(plane, name, fits)
        assert admitted == fits, f"{tree.name}: {amount} in {queue}: ours says {quota.available()}; {tree.objects}"
        said[not admitted] += 1
        if admitted:
            quota.take(amount)
            held.append((name, quota, amount))
        else:
            gone(plane, name)
    for name, _, _ in held:
        gone(plane, name)
    return said


def decided(plane, name, expected):
    """What Kueue has said. Where a yes is expected the first no is not the last word: it may not have heard yet of what was given
    back."""

    def answer():
        one = plane.get("kueue.x-k8s.io/v1beta2", "Workload", name, "trees")
        states = {x["type"]: x for x in one.get("status", {}).get("conditions", [])}
        reserved = states.get("QuotaReserved")
        if reserved is None or (expected and reserved["status"] != "True"):
            return None
        return reserved["status"]

    try:
        return plane.until(answer, f"Kueue decides on {name}", patience=30) == "True"
    except AssertionError:
        if expected:
            return False
        raise


def gone(plane, name):
    plane.delete("kueue.x-k8s.io/v1beta2", "Workload", name, "trees")
    plane.until(lambda: plane.get("kueue.x-k8s.io/v1beta2", "Workload", name, "trees") is None, f"{name} is gone")


@needs_kueue
def test_kueue_admits_what_our_quota_tree_says_on_two_hundred_random_trees(plane):
    plane.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "trees", "labels": {"samdrift.org/queued": "true"}}}
    )
    plane.apply({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": FLAVOUR}, "spec": {}})
    trees = [Tree(number) for number in range(TREES)]
    queues = []
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda tree: [plane.create(one) for one in tree.objects], trees))
        queues = [name for tree in trees for name, _ in tree.leaves]

        def active():
            there = {
                q["metadata"]["name"]: q.get("status", {}).get("conditions", [])
                for q in plane.list("kueue.x-k8s.io/v1beta2", "ClusterQueue")
            }
            return all(any(x["type"] == "Active" and x["status"] == "True" for x in there[name]) for name in queues)

        plane.until(active, "all queues are open")
        said = list(threads.map(lambda tree: play(plane, tree), trees))
    yes, no = sum(s[0] for s in said), sum(s[1] for s in said)
    print(
        f"\nKueue and the quota tree agreed {yes + no} times on {TREES} trees with {len(queues)} queues: "
        f"{yes} admitted, {no} not."
    )
    assert yes > 300
    assert no > 300
