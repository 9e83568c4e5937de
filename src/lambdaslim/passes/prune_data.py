"""Remove data and components that a package, or most packages, can do without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import ClassVar

from lambdaslim.distributions import Distribution
from lambdaslim.errors import UsageError
from lambdaslim.findings import Finding
from lambdaslim.knowledge.prune import ChoiceRule
from lambdaslim.passes.contract import Context
from lambdaslim.pruning import recorded
from lambdaslim.tree import Decision, Keep, Remove, Tree
from lambdaslim.usage import Unknown, Usage


@dataclass(frozen=True, slots=True)
class PruneData:
    """Remove what prune-rules name, and data for services and locales that nobody chose.

    Attributes:
        services: names of the AWS or Google services that the code uses, like "s3". What other
            distributions call by name stays too. None looks for them in your code, and removes
            nothing where that does not tell.
        locales: languages whose data stays, like "de" or "pt_BR", which is all of "pt"; None
            removes no locale.
        rules: whether prune-rules hold; without them, only the two options remove anything.

    Raises:
        UsageError: a string in place of a list.
    """

    name: ClassVar[str] = "prune-data"
    services: Sequence[str] | None = None
    locales: Sequence[str] | None = None
    rules: bool = True

    def __post_init__(self) -> None:
        """Make tuples of lists, so that passes can be compared."""
        for option in ("services", "locales"):
            given = getattr(self, option)
            if isinstance(given, str):
                fix = f"write [{given!r}]"
                raise UsageError("must be a list, not one string", where=option, fix=fix)
            object.__setattr__(self, option, None if given is None else tuple(given))

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield removals, and a `Keep` per rule that does not hold.

        Raises:
            UsageError: no distribution of the tree has data for a service or locale of that name.
        """
        taken: set[str] = set()
        if self.rules:
            for decision in context.prune(tree, by=self.name):
                taken.update([decision.path] if isinstance(decision, Remove) else [])
                yield decision
        choices = list(_choices(tree, context, taken))
        self._demand_known(choices)
        yield from self._vain(choices)
        usage = Usage(tree, context.distributions, context.readings)
        for choice in choices:
            yield from self._chosen(choice, usage)

    def _given(self, rule: ChoiceRule) -> Sequence[str] | None:
        return self.services if rule.option == "services" else self.locales

    def _demand_known(self, choices: list[_Choice]) -> None:
        """Refuse a service or locale that none of the data has, if there is such data."""
        for option in ("services", "locales"):
            mine = [choice for choice in choices if choice.rule.option == option]
            keys = {key for choice in mine for key in choice.files}
            for name in (self._given(mine[0].rule) or ()) if mine else ():
                if not any(_is(key, name, mine[0].rule) for key in keys):
                    near = get_close_matches(name, keys, n=3, cutoff=0.4)
                    fix = f"did you mean {', '.join(near)}?" if near else "see what the tree has"
                    what = f"is none of the {len(keys)} {option} of the tree"
                    raise UsageError(what, where=name, fix=fix)

    def _vain(self, choices: list[_Choice]) -> Iterator[Finding]:
        """Report an option about which the tree has no data, so that a choice changes nothing."""
        for option in ("services", "locales"):
            given = getattr(self, option)
            if given and not any(choice.rule.option == option for choice in choices):
                message = f"{option} {', '.join(given)} choose nothing: the tree has no data of any"
                yield Finding("pattern-unused", message)

    def _chosen(self, choice: _Choice, usage: Usage) -> Iterator[Decision]:
        rule, label = choice.rule, choice.distribution.name
        given = self._given(rule)
        if given is not None:
            also = usage.called(rule, choice.files) if rule.calls else frozenset()
            kept = frozenset(key for key in choice.files if any(_is(key, n, rule) for n in given))
            yield from choice.without(kept | also, "nobody chose")
        elif rule.calls and self.rules:
            found = usage.chosen(rule, choice.files)
            if isinstance(found, Unknown):
                why = f"all {rule.option} of {label} stay: {found.reason}"
                yield Keep(choice.distribution.metadata, why)
            else:
                yield from choice.without(found, "no code names")


@dataclass(frozen=True, slots=True)
class _Choice:
    """A rule, the distribution that it concerns, and its files by service or locale."""

    rule: ChoiceRule
    distribution: Distribution
    files: Mapping[str, tuple[str, ...]]

    def without(self, kept: frozenset[str], why: str) -> Iterator[Remove]:
        """Yield the removal of every file that is of none of the names."""
        rule = self.rule
        always = {key for key in self.files if any(fnmatchcase(key, n) for n in rule.always)}
        stay = kept | always
        unit = f"{self.distribution.metadata}: {rule.option}"
        reason = f"{rule.reason} that {why} (prune-rule for {self.distribution.name})"
        for key, paths in self.files.items():
            for path in paths if key not in stay else ():
                yield Remove(path, reason, unit=unit)


def _choices(tree: Tree, context: Context, taken: set[str]) -> Iterator[_Choice]:
    """Yield what there is to choose from; a file that several rules match belongs to the first."""
    for one in context.distributions.every:
        mine = [rule for rule in context.knowledge.choice if rule.concerns(one.name, one.version)]
        files = list(recorded(tree, one, context.distributions)) if mine else []
        skip = len(one.root) + 1 if one.root else 0
        for rule in mine:
            found: dict[str, list[str]] = {}
            for path in files:
                if path not in taken and (match := rule.key.search(path[skip:])):
                    found.setdefault(match["key"], []).append(path)
                    taken.add(path)
            if found:
                yield _Choice(rule, one, {key: tuple(paths) for key, paths in found.items()})


def _is(key: str, name: str, rule: ChoiceRule) -> bool:
    """Tell whether a key is what a name chooses: of locales, all of the same language."""
    if rule.option == "services":
        return key == name
    return _language(key) == _language(name)


def _language(locale: str) -> str:
    return locale.lower().replace("-", "_").partition("_")[0]
