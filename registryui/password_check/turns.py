"""Who is next for a hash: in turn by address, and of one address by name.

So a crowd of guesses from one address, or for one name, hardly delays the first login of others. An
address whose logins were wrong is limited, and waits apart from all others. So do new addresses
while too many of them guess. If too many wait, the longest queue of those loses its newest. Pure.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

MOST = 1000  # that wait
MOST_OF_ADDRESS = 300
WRONG_PER_SECOND = 5.0  # of one address, after so many at once:
WRONG_AT_ONCE = 20
GUESSER_SECONDS = 60.0  # after a wrong login
NEW_PER_SECOND = 5.0  # wrong ones of all addresses that were no guessers, after so many at once:
NEW_AT_ONCE = 20
MOST_KNOWN = 10_000  # addresses


class Waiting(Protocol):
    """One that waits. `is_over`: it needs no turn any more."""

    address: bytes
    name: bytes

    @property
    def is_over(self) -> bool: ...


One = TypeVar("One", bound=Waiting)


@dataclass(slots=True)
class _Queue(Generic[One]):
    """Of one address: a queue for each name, the next one first."""

    names: OrderedDict[bytes, deque[One]]
    count: int = 0


class Turns(Generic[One]):
    """All that wait. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._queues: OrderedDict[bytes, _Queue[One]] = OrderedDict()  # the next one first
        self._count = 0
        # When an address has used up none of its allowance. In order of the last wrong login.
        self._free_at: OrderedDict[bytes, float] = OrderedDict()
        self._new_free_at = 0.0  # the same of all that were no guessers
        self._known: OrderedDict[bytes, None] = OrderedDict()  # their last login was right

    def __len__(self) -> int:
        return self._count

    def add(self, one: One, now: float) -> One | None:
        """Queues it; returns the one that lost its place, if too many wait."""
        queue = self._queues.setdefault(one.address, _Queue(OrderedDict()))
        queue.names.setdefault(one.name, deque()).append(one)
        self._add(queue, 1)
        if queue.count > MOST_OF_ADDRESS:
            return self._lose(one.address)
        if self._count > MOST:
            sizes = {address: queue.count for address, queue in self._queues.items()}
            return self._lose(max(sizes, key=lambda one: (self.is_guesser(one, now), sizes[one])))
        return None

    def next(self, now: float, *, guessers: bool) -> One | None:
        """Takes the next one of those that guess, or of all others; None if none may have a turn
        now."""
        for address in list(self._queues):
            if self.is_guesser(address, now) is not guessers:
                continue
            while address in self._queues and self._pause(address, now) <= 0:
                if not (one := self._take(address)).is_over:
                    return one
        return None

    def is_guesser(self, address: bytes, now: float) -> bool:
        """True if a login from there was wrong in the last minute; while too many addresses begin
        to guess, also if none was right."""
        if address in self._free_at and self._free_at[address] > now - GUESSER_SECONDS:
            return True
        too_many = self._new_free_at - now > (NEW_AT_ONCE - 0.5) / NEW_PER_SECOND
        return too_many and address not in self._known

    def pause(self, now: float) -> float | None:
        """Seconds until one of those that may have no turn now may; None if nobody waits so."""
        pauses = [self._pause(address, now) for address in self._queues]
        return min((one for one in pauses if one > 0), default=None)

    def count_wrong(self, address: bytes, now: float) -> None:
        """Counts a wrong login."""
        self._known.pop(address, None)
        if address not in self._free_at or self._free_at[address] <= now - GUESSER_SECONDS:
            self._new_free_at = max(self._new_free_at, now) + 1 / NEW_PER_SECOND
        free_at = max(self._free_at.pop(address, now), now)
        self._free_at[address] = free_at + 1 / WRONG_PER_SECOND
        while next(iter(self._free_at.values())) <= now - GUESSER_SECONDS:
            self._free_at.popitem(last=False)

    def count_right(self, address: bytes) -> None:
        """Remembers that address for times when many others guess."""
        self._known[address] = None
        self._known.move_to_end(address)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def of_same(self, one: One) -> list[One]:
        """Those of the same address and name that wait."""
        queue = self._queues.get(one.address)
        return list(queue.names.get(one.name, ())) if queue else []

    def _pause(self, address: bytes, now: float) -> float:
        # Half a turn earlier: sums of floating point numbers are not exact.
        return self._free_at.get(address, now) - now - (WRONG_AT_ONCE - 0.5) / WRONG_PER_SECOND

    def _take(self, address: bytes) -> One:
        queue = self._queues[address]
        name = next(iter(queue.names))
        one = queue.names[name].popleft()
        queue.names.move_to_end(name)
        self._queues.move_to_end(address)
        self._taken(address, name)
        return one

    def _lose(self, address: bytes) -> One:
        names = self._queues[address].names
        name = max(names, key=lambda name: len(names[name]))
        one = names[name].pop()
        self._taken(address, name)
        return one

    def _taken(self, address: bytes, name: bytes) -> None:
        queue = self._queues[address]
        self._add(queue, -1)
        if not queue.names[name]:
            del queue.names[name]
        if not queue.count:
            del self._queues[address]

    def _add(self, queue: _Queue[One], number: int) -> None:
        queue.count += number
        self._count += number
