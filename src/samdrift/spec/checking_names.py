"""What types cannot say of names: whether each stands for one thing, which exists, and which whoever is named with it may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from samdrift.spec.document import Spec
from samdrift.spec.findings import Finding, Path, did_you_mean, listed
from samdrift.spec.names import Named, Names


def organisations_name_models_that_exist(spec: Spec) -> Iterator[Finding]:
    names = Names(spec).all
    for who, organisation in spec.organisations.items():
        seen: set[str] = set()
        for position, name in enumerate(organisation.models or ()):
            path: Path = ("organisations", who, "models", position)
            if name not in names:
                yield Finding(path, f"There is no model `{name}`.", _near(name, names))
            elif names[name].organisation not in (None, who):
                yield Finding(path, f"`{name}` belongs to `{names[name].organisation}`.", "Leave it out.")
            elif name in seen:
                yield Finding(path, f"The model `{name}` is named twice.", "Name it once.")
            seen.add(name)


def each_name_stands_for_one_thing(spec: Spec) -> Iterator[Finding]:
    over: dict[str, str] = {}
    for name, model in spec.models.items():
        for adapter in model.adapters:
            path: Path = ("models", name, "adapters", adapter)
            if adapter in spec.models:
                yield Finding(path, f"`{adapter}` is a model itself.", "Give the adapter another name.")
            elif adapter in over:
                yield Finding(path, f"`{over[adapter]}` has an adapter of this name, too.", "Give one of them another name.")
            over[adapter] = name


def what_is_somebodys_is_a_members(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        owned: list[tuple[Path, str | None, str]] = [(("models", name, "organisation"), model.organisation, name)]
        for adapter, said in model.adapters.items():
            path: Path = ("models", name, "adapters", adapter, "organisation")
            owned.append((path, said.organisation, adapter))
            if model.organisation is not None and said.organisation not in (None, model.organisation):
                yield Finding(path, f"The engines that would serve it are those of `{model.organisation}` alone.",
                    "Write the adapter at a model that is shared, or leave `organisation` out.")  # fmt: skip
        for path, who, called in owned:
            member = None if who is None else spec.organisations.get(who)
            if who is not None and member is None:
                remedy = did_you_mean(who, spec.organisations, f"The organisations are {listed(spec.organisations)}.")
                yield Finding(path, f"There is no organisation `{who}`.", remedy)
            elif member is not None and member.models is not None and called not in member.models:
                yield Finding(path, f"Nobody could use it: `{who}` may use {listed(member.models)} only.",
                    f"Write `{called}` under `organisations.{who}.models`, too.")  # fmt: skip


def aliases_stand_for_models(spec: Spec) -> Iterator[Finding]:
    names = Names(spec).all
    for alias, name in spec.aliases.items():
        path: Path = ("aliases", alias)
        if alias in names:
            yield Finding(path, f"`{alias}` is {_a(names[alias])} itself.", "Choose another name, or leave it out.")
        elif name not in names:
            yield Finding(path, f"There is no model `{name}`.", _near(name, names))
        elif (owner := names[name].organisation) is not None:
            yield Finding(path, f"`{name}` belongs to `{owner}` and does not exist for the others.",
                f"Write it under `organisations.{owner}.aliases`.")  # fmt: skip


def own_aliases_stand_for_what_may_be_used(spec: Spec) -> Iterator[Finding]:
    names = Names(spec)
    for who, organisation in spec.organisations.items():
        usable = names.used_by(who) if organisation.aliases else {}
        for alias, name in organisation.aliases.items():
            path: Path = ("organisations", who, "aliases", alias)
            if alias == name:
                yield Finding(path, f"`{alias}` would stand for itself.", "Leave it out.")
            elif name not in usable:
                known = name in names.all
                sentence = f"`{who}` may not use `{name}`." if known else f"There is no model `{name}`."
                yield Finding(path, sentence, _near(name, usable))


def _near(name: str, names: dict[str, Named]) -> str:
    return did_you_mean(name, names, f"The models are {listed(names)}." if names else "It may use none.")


def _a(named: Named) -> str:
    return "an adapter" if named.is_adapter else "a model"


NAME_CHECKS: tuple[Callable[[Spec], Iterator[Finding]], ...] = (
    organisations_name_models_that_exist,
    each_name_stands_for_one_thing,
    what_is_somebodys_is_a_members,
    aliases_stand_for_models,
    own_aliases_stand_for_what_may_be_used,
)
