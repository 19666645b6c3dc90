"""Which modes of agreement are there? `MODES` has each by its name. A new one is a file and a row."""

from strategies.sync.agreement import Agreement
from strategies.sync.asynchronous import Asynchronous, AsyncWindow
from strategies.sync.dynamic import Dynamic
from strategies.sync.federated import Federated
from strategies.sync.gradients import Gradients
from strategies.sync.parameters import Parameters

MODES: dict[str, type[Agreement]] = {
    mode.mode: mode
    for mode in (Gradients, Parameters, Dynamic, Federated, Asynchronous, AsyncWindow)
}
