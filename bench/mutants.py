"""Would the tests notice? Each mutant is the scheduler with one thing done wrong that would be unfair; the tests must fail.

Run `python bench/mutants.py` (or `make mutants`), from anywhere. Each mutant is a copy of the package in a temporary
folder with one passage replaced; the tests of `tests/fairshare` run against it until one fails. Exit code 1 if any mutant
survives, or if a passage is not there any more (then the mutant must be written anew).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_AT_ONCE = 2
_LONGEST = 600.0  # seconds that the tests may take


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is done wrong, and the passage of which file that does it."""

    name: str
    file: str
    passage: str
    instead: str


_REKEYED = """                self.bands.judge(node, rekey=difference != 0.0)
            elif difference:
                _rekey(node, parent)
            node = parent"""

MUTANTS = (
    Mutant("no lift: having been idle is credit", "turns.py",
        "                if node.u < start:\n", "                if node.u < start and False:\n"),
    Mutant("lift to the largest: a newcomer pays for what others have running", "members.py",
        "        return min([self.v, *(first.u", "        return max([self.v, *(m.u for m in self.children.values()), *(first.u"),
    Mutant("forget a refund", "floor.py",
        "running.weights, cost - running.charged)", "running.weights, max(0.0, cost - running.charged))"),
    Mutant("charge at the end only", "floor.py",
        "        weights = pool.turns.serve(waiter, charge)\n",
        "        charge = 0.0\n        weights = pool.turns.serve(waiter, charge)\n"),
    Mutant("no lag cap", "bands.py",
        "            limit = min(limit, behind.u + self.nominal.beta)\n", "            pass\n"),
    Mutant("no lag cap between the classes", "bands.py",
        "batch_within.u + beta\n", "inf\n"),
    Mutant("a bucket without bound", "bands.py",
        "        member.tag = min(before + amount, full)\n", "        member.tag = before + amount\n"),
    Mutant("settle twice", "floor.py",
        "        pool.turns.settle(running.leaf, running.weights, cost - running.charged)\n        self.tally",
        "        pool.turns.settle(running.leaf, running.weights, cost - running.charged)\n"
        "        pool.turns.correct(running.leaf, running.weights, cost - running.charged)\n        self.tally"),
    Mutant("a receipt counts every time it comes", "floor.py",
        "(lapsed := self.lapsed.pop(ticket, None))", "(lapsed := self.lapsed.get(ticket))"),
    Mutant("re-key only when `u` grows: among organisations", "turns.py",
        _REKEYED, _REKEYED.replace("rekey=difference != 0.0", "rekey=difference > 0")),
    Mutant("re-key only when `u` grows: below", "turns.py",
        _REKEYED, _REKEYED.replace("elif difference:", "elif difference > 0:")),
    Mutant("receipts shuffle equals: among organisations", "turns.py",
        _REKEYED, _REKEYED.replace("rekey=difference != 0.0", "rekey=True")),
    Mutant("receipts shuffle equals: below", "turns.py", _REKEYED, _REKEYED.replace("elif difference:", "else:")),
    Mutant("the end of a burst shuffles equals", "members.py", "place, keep_turn=True)", "place, keep_turn=False)"),
    Mutant("a worse band passes a better one that must leave seats free", "dispatch.py",
        "    if seats.free <= kept:\n        return True\n",
        "    if seats.free <= kept:\n        if not seats.free:\n            return True\n        pool.turns.block(member)\n"
        "        aside.append(member)\n        return False\n"),
    Mutant("headroom that stays for ever", "headroom.py",
        "self.count + (self._mean - self.count) * exp(-elapsed / MEMORY)", "max(self._mean, self.count)"),
    Mutant("headroom against oneself", "pool.py",
        "self.protected.mean(now) - member.protected.mean(now)", "self.protected.mean(now)"),
    Mutant("leaving for a moment empties the bucket", "members.py",
        "        if member.tag > self._nominal.now:\n", "        if False:\n"),
    Mutant("who was blocked by a limit is not lifted", "floor.py",
        "pool.turns.unblock(member, lift=True)", "pool.turns.unblock(member, lift=False)"),
    Mutant("what is kept is not given back to who keeps it", "dispatch.py",
        "    if not pool.stock.exhausted():\n", "    if True:\n"),
    Mutant("starts are not spread", "pool.py",
        "return not alone and self.spread.holds_back(", "return False and self.spread.holds_back("),
    Mutant("a new version that is tried takes whatever is free", "seats.py",
        "turn = self._portions.turn(berth.replica.name) or not (anywhere or adapter in self._untried)", "turn = True"),
    Mutant("a request goes where its adapter is not", "seats.py",
        "or not (adapter is None or adapter in berth.adapters):", "or False:"),
    Mutant("who asks for an adapter is never passed", "dispatch.py",
        "return not pool.aside.key(waiter)", "return True"),
    Mutant("a new version makes up for all that it missed", "portions.py",
        "else min(1.0, account)", "else account"),
    Mutant("a new version that is tried promises all of its seats", "seats.py",
        "seats_of(berth.replica.portion, others, berth.offered)", "berth.offered"),
    Mutant("a stranger's small limit is not believed", "cost.py",
        "if most is None or most > COLD_HIGH else most", "if most is None else min(COLD_OUTPUT, most)"),
    Mutant("a giant is passed for ever", "backfill.py",
        "self.fenced = seats.roomiest(self.giant.adapter)", "self.fenced = None"),
)  # fmt: skip


def killed(mutant: Mutant) -> str | None:
    """The first test that fails, or None if the mutant survives. Raises LookupError if its passage is not there (once)."""
    with tempfile.TemporaryDirectory(prefix="samdrift-mutant-") as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        file = source / "samdrift" / "fairshare" / mutant.file
        text = file.read_text()
        if text.count(mutant.passage) != 1:
            raise LookupError(f"`{mutant.name}`: its passage is {text.count(mutant.passage)} times in {mutant.file}")
        file.write_text(text.replace(mutant.passage, mutant.instead))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-rf",
            "tests/fairshare"]  # fmt: skip
        # Without a database of examples and without shrinking: that it fails is all we ask.
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LONGEST, check=False,
            env=os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "MUTANT": "1"})  # fmt: skip
        if done.returncode == 0:
            return None
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return failed[0].split("::", 1)[-1].split(" - ")[0] if failed else f"pytest ended with {done.returncode}"


def main() -> int:
    """Prints who was killed by what, and who survived."""
    started = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        results = list(zip(MUTANTS, workers.map(killed, MUTANTS), strict=True))
    for mutant, by in results:
        print(f"{'survived' if by is None else 'killed  '}  {mutant.name}" + (f"\n          by {by}" if by else ""))
    survivors = sum(by is None for _, by in results)
    print(f"{len(results) - survivors} of {len(results)} killed in {time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
