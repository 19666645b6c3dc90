"""What may one client of a sweep do on the server?

A `ClientSession` lets it ask for trials, and report on those assigned to it. One thread serves it, so no
message is handled between its end and the requeueing of its trials.
"""

import concurrent.futures
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from strategies.network.connection import JsonConnection, Message, ProtocolError
from trainer.tune.machines import messages
from trainer.tune.machines.call_queue import HIGH, LOW, CallQueue
from trainer.tune.search.trial_source import TrialSource, TrialSpec

_ASK_TIMEOUT_S = 0.5  # The longest time that a client waits for the answer to `ask`.
_MAX_TRIALS = 1000


class SearchError(Exception):
    """The search raised an error, which is this one's cause. It is not the client's fault."""


class ClientSession:
    """An admitted client.

    Attributes:
      name, host, channel: those of the client.
      trials: those assigned to it, by id, with the time of their assignment (time.monotonic).
      last_heard: when its last message arrived (time.monotonic).
    """

    def __init__(
        self,
        channel: JsonConnection,
        name: str,
        search: TrialSource,
        call_queue: CallQueue,
        is_finished: Callable[[], bool],
    ):
        self.name = name
        self.host = channel.host
        self.channel = channel
        self.trials: dict[str, float] = {}
        self.last_heard = time.monotonic()
        self._search, self._call_queue, self._is_finished = search, call_queue, is_finished
        self._pending_ask: Future | None = None
        self._handlers: dict[str, Callable[[Message], Message]] = {
            "heartbeat": lambda message: {},
            "ask": self._ask,
            "report": self._report,
            "tell": self._tell,
            "requeue": self._requeue,
        }

    def __str__(self) -> str:
        return f"client {self.name} at {self.host}"

    def serve(self, peer_timeout_s: float) -> str:
        """Answers the client's calls until it disconnects.

        Returns:
          The reason why the client was lost, or "" if it said goodbye.

        Raises:
          SearchError: the search raised an error.
        """
        try:
            self.channel.send({"welcome": True, "over": self._is_finished()})
            self.last_heard = time.monotonic()  # Before its welcome it must not send anything.
            while True:
                message = self.channel.receive(self.last_heard + peer_timeout_s)
                self.last_heard = time.monotonic()
                if "bye" in message:
                    return ""
                self._answer(message)
        except TimeoutError:
            return f"not heard from for {peer_timeout_s:g} s"
        except ProtocolError:
            return "it sent an invalid message"
        except (EOFError, OSError):
            return "its connection closed"

    def disconnect(self, reason: str) -> None:
        """Closes the connection, and sends the client the reason if it is still there."""
        with contextlib.suppress(OSError):
            self.channel.send({"bye": reason})
        self.channel.shut_down()

    def requeue_trials(self) -> list[str]:
        """Requeues the client's trials, and returns their ids. Call it after `serve` has returned.

        Raises:
          SearchError: the search raised an error.
        """
        if self._pending_ask and not self._pending_ask.cancel():
            self._assign(_result(self._pending_ask))
        trial_ids = [*self.trials]
        for trial_id in trial_ids:
            self._call(self._search.requeue, trial_id, time.monotonic() - self.trials.pop(trial_id))
        return trial_ids

    def _answer(self, message: Message) -> None:
        call, number = message.get("call"), message.get("number")
        if not isinstance(call, str) or call not in self._handlers or type(number) is not int:
            raise ProtocolError
        answer = self._handlers[call](message)
        self.channel.send({**answer, "number": number, "over": self._is_finished()})

    def _call(self, call: Callable[..., Any], *args: Any) -> Any:
        return _result(self._call_queue.submit(HIGH, call, *args))

    def _ask(self, message: Message) -> Message:
        runner = messages.parse_line(message.get("runner"))
        if not runner.startswith(f"{self.name}/"):
            runner = f"{self.name}/{runner}"  # So that no client uses the name of another.
        if len(self.trials) >= _MAX_TRIALS:
            return {"trial": None}
        if not self._pending_ask:
            self._pending_ask = self._call_queue.submit(LOW, self._search.ask, runner)
        # If the tuner takes longer, the client's next `ask` gets the trial.
        if not concurrent.futures.wait([self._pending_ask], _ASK_TIMEOUT_S).done:
            return {"trial": None}
        future, self._pending_ask = self._pending_ask, None
        spec = self._assign(_result(future))
        return {"trial": spec and messages.to_json(spec)}

    def _assign(self, spec: TrialSpec | None) -> TrialSpec | None:
        if spec:
            self.trials[spec.id] = time.monotonic()
        return spec

    def _report(self, message: Message) -> Message:
        trial_id = messages.parse_trial_id(message.get("trial"))
        progress = messages.parse_progress(message.get("progress"))
        is_own = trial_id in self.trials
        return {"stop": not is_own or self._call(self._search.report, trial_id, progress)}

    def _tell(self, message: Message) -> Message:
        outcome = messages.parse_outcome(message.get("outcome"))
        return self._release(message, self._search.tell, outcome)

    def _requeue(self, message: Message) -> Message:
        seconds = messages.parse_seconds(message.get("seconds"))
        return self._release(message, self._search.requeue, seconds)

    def _release(self, message: Message, call: Callable[..., Any], argument: Any) -> Message:
        trial_id = messages.parse_trial_id(message.get("trial"))
        if trial_id not in self.trials:
            return {"accepted": False}
        self._call(call, trial_id, argument)
        del self.trials[trial_id]
        return {"accepted": True}


def _result(future: Future) -> Any:
    try:
        return future.result()
    except Exception as error:
        raise SearchError from error
