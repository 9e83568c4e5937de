"""What a proof is: one way to compare a package before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lambdaslim.verification.side import Side
from lambdaslim.verification.values import Failure

Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a proof found: failures, how many of each kind it compared, and what limits it."""

    failures: tuple[Failure, ...]
    checked: Mapping[str, int]
    notes: tuple[str, ...] = ()


class Proof(Protocol):
    """Knows the side before, asks it once, and compares any number of sides after with it."""

    kinds: tuple[str, ...]

    def compare(self, after: Side) -> Outcome:
        """Compare everything."""
        ...

    def still_fails(self, after: Side, failures: Sequence[Failure]) -> bool:
        """Compare these alone, of which there is one at least; stop at the first that fails."""
        ...
