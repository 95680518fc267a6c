"""How far the AUs of weights are to be trusted on real people, from the checks in the weights' metadata.

The rule: an AU is to be used if it was checked on real people and the lower end of the 95 % interval of its
AUC is ``USE_AUC`` or more, and with care if it is less than ``GOOD_AUC``. A check on rendered faces alone is
never enough. All that tells users about trust goes by this rule: lines, records, pages and the model card.
"""

from dataclasses import dataclass
from typing import Any, Literal

from maeface import facts
from maeface.model.file_format.metadata import Check, Metadata

USE_AUC = 0.8
"""Smallest AUC, at the lower end of its interval, with which an AU is to be used on real people."""

GOOD_AUC = 0.9
"""Smallest AUC, at the lower end of its interval, with which an AU is to be used without special care."""

Advice = Literal["yes", "with care", "no"]
"""Whether to use an AU on real people."""

FACES = {"real": "real faces", "renders": "rendered faces only"}


@dataclass(frozen=True)
class Trust:
    """How far an AU is to be trusted on real people.

    Attributes:
        check: the check that this rests on; None if the AU was not checked.
    """

    check: Check | None

    @property
    def advice(self) -> Advice:
        """What the rule of this module says."""
        if self.check is None or self.check.on != "real" or self.check.low < USE_AUC:
            return "no"
        return "yes" if self.check.low >= GOOD_AUC else "with care"

    @property
    def use(self) -> bool:
        """Whether to use it, with care or without."""
        return self.advice != "no"

    def __str__(self) -> str:
        """Return a few words: ``AUC 0.96 [0.93, 0.98] on 300 real faces, 276 with it``."""
        check = self.check
        if check is None:
            return "not checked"
        return (
            f"AUC {check.auc:.2f} [{check.low:.2f}, {check.high:.2f}] on {check.n} {FACES[check.on]}, "
            f"{check.present} with it"
        )


def trust_of(metadata: Metadata) -> dict[int, Trust]:
    """Return action unit -> how far it is to be trusted, in the order of ``metadata.aus``.

    Weights without any check, such as those that ``maeface finetune`` writes, have no entry: nothing is known
    about them. Where other AUs of the weights were checked, an AU without a check is not to be used.
    """
    if not metadata.checks:
        return {}
    return {au: Trust(metadata.checks.get(au)) for au in metadata.aus}


def trust_entry(metadata: Metadata) -> dict[str, dict[str, Any]]:
    """Return the entry ``trust`` of the record beside a table of predictions.

    Returns:
        Name of the action unit -> ``checked`` ("real", "renders" or "no"), ``use``, ``advice`` ("yes", "with
        care" or "no"), and, if it was checked, ``auc``, ``low``, ``high``, ``n``, ``present`` and ``on`` (the
        name of the faces). Empty for weights without any check.
    """
    entry: dict[str, dict[str, Any]] = {}
    for au, trust in trust_of(metadata).items():
        check, name = trust.check, facts.au_name(au)
        if check is None:
            entry[name] = {"checked": "no", "use": False, "advice": trust.advice}
            continue
        values = check.model_dump(include={"auc", "low", "high", "n", "present"})
        entry[name] = {"checked": check.on, **values, "on": check.data}
        entry[name] |= {"use": trust.use, "advice": trust.advice}
    return entry


def shown_aus(metadata: Metadata, all_aus: bool) -> tuple[int, ...]:
    """Return the action units that lines and pictures show: those to be used, or all of them.

    Of weights without any check all are shown.
    """
    trust = trust_of(metadata)
    return metadata.aus if all_aus or not trust else tuple(au for au in metadata.aus if trust[au].use)
