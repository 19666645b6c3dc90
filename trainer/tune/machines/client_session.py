"""What may one client of a sweep do at its chief?

It asks for trials, and tells of those that are its own. It is served from one thread, so nothing comes
between its last words and the giving back of what it leaves behind.
"""

import concurrent.futures
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from strategies.network.connection import Message, ProtocolError
from strategies.network.handshake import AuthenticationError
from strategies.network.signed_channel import SignedChannel
from trainer.tune.machines import messages
from trainer.tune.machines.call_queue import AT_ONCE, LATER, CallQueue
from trainer.tune.search.trial_source import TrialSource, TrialSpec

_HOLD_S = 0.5  # As long an asking client is kept waiting for an answer at most.
_MAX_TRIALS = 1000


class SearchFailed(Exception):
    """The search raised what is this one's cause: no client is to blame."""


class ClientSession:
    """A client that was let in. `trials` are its own, with the times they were given to it."""

    def __init__(
        self,
        wire: SignedChannel,
        name: str,
        search: TrialSource,
        desk: CallQueue,
        is_over: Callable[[], bool],
    ):
        self.name = name
        self.host = wire.host
        self.wire = wire
        self.trials: dict[str, float] = {}
        self.heard = time.monotonic()
        self._search, self._desk, self._is_over = search, desk, is_over
        self._asked: Future | None = None
        self._calls: dict[str, Callable[[Message], Message]] = {
            "beat": lambda message: {},
            "ask": self._ask,
            "note": self._note,
            "tell": self._tell,
            "give_back": self._give_back,
        }

    def __str__(self) -> str:
        return f"client {self.name} at {self.host}"

    def serve(self, peer_timeout_s: float) -> str:
        """Answers until the client goes; then how it was lost, or "" where it took its leave.

        Raises:
          SearchFailed: see there.
        """
        try:
            self.wire.send({"welcome": True, "over": self._is_over()})
            self.heard = time.monotonic()  # Until now it was not to speak.
            while True:
                message = self.wire.receive(self.heard + peer_timeout_s)
                self.heard = time.monotonic()
                if "bye" in message:
                    return ""
                self._answer(message)
        except TimeoutError:
            return f"not heard from for {peer_timeout_s:g} s"
        except AuthenticationError:
            return "it sent what it could not prove to be its own"
        except ProtocolError:
            return "it sent what no client sends"
        except (EOFError, OSError):
            return "its connection closed"

    def dismiss(self, reason: str) -> None:
        """Ends the connection. The client learns why, should it still be there."""
        with contextlib.suppress(OSError):
            self.wire.send({"bye": reason})
        self.wire.shut_down()

    def leave(self) -> list[str]:
        """Gives back what the client had, and returns the trials' ids. Nothing is served after that.

        Raises:
          SearchFailed: see there.
        """
        if self._asked and not self._asked.cancel():
            self._take(_result(self._asked))
        left = [*self.trials]
        for trial_id in left:
            self._do(self._search.give_back, trial_id, time.monotonic() - self.trials.pop(trial_id))
        return left

    def _answer(self, message: Message) -> None:
        call, number = message.get("call"), message.get("number")
        if not isinstance(call, str) or call not in self._calls or type(number) is not int:
            raise ProtocolError
        said = self._calls[call](message)
        self.wire.send({**said, "number": number, "over": self._is_over()})

    def _do(self, call: Callable[..., Any], *args: Any) -> Any:
        return _result(self._desk.submit(AT_ONCE, call, *args))

    def _ask(self, message: Message) -> Message:
        runner = messages.line(message.get("runner"))
        if not runner.startswith(f"{self.name}/"):
            runner = f"{self.name}/{runner}"  # No client goes by the name of another.
        if len(self.trials) >= _MAX_TRIALS:
            return {"assignment": None}
        if not self._asked:
            self._asked = self._desk.submit(LATER, self._search.ask, runner)
        # A tuner that thinks for long is not waited for: its trial goes to the next who asks here.
        if not concurrent.futures.wait([self._asked], _HOLD_S).done:
            return {"assignment": None}
        asked, self._asked = self._asked, None
        assignment = self._take(_result(asked))
        return {"assignment": assignment and messages.spelled(assignment)}

    def _take(self, assignment: TrialSpec | None) -> TrialSpec | None:
        if assignment:
            self.trials[assignment.id] = time.monotonic()
        return assignment

    def _note(self, message: Message) -> Message:
        trial_id = messages.trial_id(message.get("trial"))
        progress = messages.progress(message.get("progress"))
        is_own = trial_id in self.trials
        return {"stop": not is_own or self._do(self._search.note, trial_id, progress)}

    def _tell(self, message: Message) -> Message:
        outcome = messages.outcome(message.get("outcome"))
        return self._settle(message, self._search.tell, outcome)

    def _give_back(self, message: Message) -> Message:
        seconds = messages.seconds(message.get("seconds"))
        return self._settle(message, self._search.give_back, seconds)

    def _settle(self, message: Message, call: Callable[..., Any], argument: Any) -> Message:
        trial_id = messages.trial_id(message.get("trial"))
        if trial_id not in self.trials:
            return {"taken": False}
        self._do(call, trial_id, argument)
        del self.trials[trial_id]
        return {"taken": True}


def _result(future: Future) -> Any:
    try:
        return future.result()
    except Exception as error:
        raise SearchFailed from error
