"""One turn at a time: a fair lock that names its holder when it cannot be had."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from capture.errors import UserError


@dataclass
class Turn:
    """A lock given in the order of asking; the thread that has it may take it again."""

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _waiting: deque[object] = field(default_factory=deque)
    _owner: int | None = None
    _depth: int = 0
    _who: str = ""
    _since: float = 0.0

    @contextmanager
    def hold(self, who: str, wait_s: float) -> Iterator[None]:
        """Have the turn for a while; after `wait_s` in vain raise UserError that says who has it and since when."""
        self._take(who, wait_s)
        try:
            yield
        finally:
            self._give_back()

    def _take(self, who: str, wait_s: float) -> None:
        me = threading.get_ident()
        with self._changed:
            if self._owner == me:
                self._depth += 1
                return
            ticket = object()
            self._waiting.append(ticket)
            try:
                is_mine = self._changed.wait_for(lambda: self._owner is None and self._waiting[0] is ticket, wait_s)
                if not is_mine:
                    raise self._busy()
                self._owner, self._depth, self._who, self._since = me, 1, who, time.time()
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _give_back(self) -> None:
        with self._changed:
            self._depth -= 1
            if self._depth == 0:
                self._owner = None
                self._changed.notify_all()

    def _busy(self) -> UserError:
        since = time.strftime("%H:%M:%S", time.localtime(self._since))
        held_s = time.time() - self._since
        holder = f"{self._who} has had it since {since} ({held_s:.0f} s)" if self._owner else "others wait before you"
        return UserError(f"The model runs one thing at a time, and {holder}.", "Try again in a moment.")
