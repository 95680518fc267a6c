"""From one dataset to another: who may be tested, and on which action units."""

from maeface import facts
from maeface.errors import ConfigError
from maeface.experiments.settings import Experiment


def shared_aus(benchmark: Experiment) -> tuple[int, ...]:
    """The action units of the task that the dataset has, and the tested one too; in the first one's order.

    Raises:
        ConfigError: none, or no such dataset.
    """
    mine, theirs = (_aus(name, benchmark.task) for name in (benchmark.dataset, benchmark.tested))
    both = tuple(au for au in mine if au in theirs)
    if not both:
        raise ConfigError(
            f"{benchmark.dataset} and {benchmark.tested} share no action unit for {benchmark.task}; "
            f"they have {_names(mine)}, and {_names(theirs)}"
        )
    return both


def people(benchmark: Experiment) -> tuple[str, ...]:
    """Lines to note about people who are in both datasets; empty where none is known to be.

    Raises:
        ConfigError: some are, and ``same_people`` does not allow it; or both are one dataset.
    """
    dataset, tested = benchmark.dataset, benchmark.tested
    if dataset == tested:
        raise ConfigError(f"--train and --test are both {dataset}: test on another dataset")
    known = facts.dataset(dataset).same_people.get(tested) or facts.dataset(tested).same_people.get(dataset)
    if not known:
        return ()
    line = f"{len(known)} people are in {dataset} and in {tested} ({', '.join(known)})"
    if not benchmark.same_people:
        raise ConfigError(
            f"{line}: the test would show faces that were learned; --set same_people=true allows"
        )
    return (f"{line}: the test shows people that were learned from",)


def _aus(name: str, task: str) -> tuple[int, ...]:
    known = facts.dataset(name)
    return known.aus_occurrence if task == "detection" else known.aus_intensity


def _names(aus: tuple[int, ...]) -> str:
    return ", ".join(facts.au_name(au) for au in aus) or "none"
