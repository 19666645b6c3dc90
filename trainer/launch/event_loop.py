"""What is the next thing that a supervisor has to act on?

`EventLoop` gives one event after another to a single thread: a signal, the end of a process, or an alarm
that is due. So the supervisor needs no locks.
"""

import contextlib
import queue
import signal
import time
from collections.abc import Callable, Container, Hashable, Iterator
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EventLoop:
    """`put` may be called from any thread, everything else from the main thread only.

    Args:
      on_signal: called for each signal that this process receives.
      on_event: called for everything else that was `put`.
    """

    def __init__(
        self, on_signal: Callable[[signal.Signals], None], on_event: Callable[[Any], None]
    ):
        self._on_signal = on_signal
        self._on_event = on_event
        self._events: queue.SimpleQueue = queue.SimpleQueue()  # A signal handler may put into it.
        self._alarms: dict[Hashable, tuple[float, Callable[[], None]]] = {}

    def put(self, event: Any) -> None:
        """Adds an event. One of `signal.Signals` counts as a signal to this process."""
        self._events.put(event)

    @contextlib.contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Inside it SIGINT, SIGTERM and SIGHUP are events."""

        def note(number: int, _frame: object) -> None:
            self.put(signal.Signals(number))

        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def set_alarm(self, name: Hashable, delay_s: float, act: Callable[[], None]) -> None:
        """Has `act` called after `delay_s`, in place of an earlier alarm of this name."""
        self._alarms[name] = time.monotonic() + delay_s, act

    def cancel_alarms(self, but: Container[Hashable] = ()) -> None:
        self._alarms = {name: alarm for name, alarm in self._alarms.items() if name in but}

    @property
    def alarms(self) -> list[Hashable]:
        """The names of the alarms that are set."""
        return [*self._alarms]

    def run_until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self._handle_next()
            self._run_due_alarms()

    def _handle_next(self) -> None:
        """Waits for an event, at most until the next alarm."""
        next_at = min((at for at, _ in self._alarms.values()), default=None)
        timeout_s = None if next_at is None else max(0.0, next_at - time.monotonic())
        try:
            event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return
        (self._on_signal if isinstance(event, signal.Signals) else self._on_event)(event)

    def _run_due_alarms(self) -> None:
        now = time.monotonic()
        for name in [name for name, (at, _) in self._alarms.items() if at <= now]:
            if name in self._alarms:  # An earlier one may have cancelled it.
                _, act = self._alarms.pop(name)
                act()
