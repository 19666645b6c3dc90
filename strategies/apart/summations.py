"""Which ways to add the vectors of logical replicas are there? `SUMMATIONS` has each by its name."""

from collections.abc import Callable

from strategies.apart.summation import PlainSum, Summation


def _plain() -> type[Summation]:
    return PlainSum


def _coded() -> type[Summation]:
    from strategies.apart.coded_sum import CodedSum

    return CodedSum


def _masked() -> type[Summation]:
    from strategies.apart.masked_sum import MaskedSum

    return MaskedSum


def _homomorphic() -> type[Summation]:
    from strategies.apart.homomorphic_sum import HomomorphicSum

    return HomomorphicSum


SUMMATIONS: dict[str, Callable[[], type[Summation]]] = {  # By `Agreement.summation`.
    "plain": _plain,
    "coded": _coded,
    "masked": _masked,
    "homomorphic": _homomorphic,
}
