"""How far the AUs of weights are to be trusted on real people, from the checks in the weights' metadata.

The rule: an AU is to be used if it was checked on real people and the lower end of the 95 % interval of its
AUC is ``USE_AUC`` or more. A check on rendered faces alone is never enough.
"""

from dataclasses import dataclass
from typing import Any

from maeface import facts
from maeface.model.file_format.metadata import Check, Metadata

USE_AUC = 0.8
"""Smallest AUC, at the lower end of its interval, with which an AU is to be used on real people."""

FACES = {"real": "real faces", "renders": "rendered faces only"}


@dataclass(frozen=True)
class Trust:
    """How far an AU is to be trusted on real people.

    Attributes:
        use: whether the rule of this module says to use it.
        check: the check that this rests on; None if the AU was not checked.
    """

    use: bool
    check: Check | None

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
    checks = {au: metadata.checks.get(au) for au in metadata.aus}
    return {
        au: Trust(check is not None and check.on == "real" and check.low >= USE_AUC, check)
        for au, check in checks.items()
    }


def trust_entry(metadata: Metadata) -> dict[str, dict[str, Any]]:
    """Return the entry ``trust`` of the record beside a table of predictions.

    Returns:
        Name of the action unit -> ``checked`` ("real", "renders" or "no"), ``use``, and, if it was checked,
        ``auc``, ``low``, ``high``, ``n``, ``present`` and ``on`` (the name of the faces). Empty for weights
        without any check.
    """
    entry: dict[str, dict[str, Any]] = {}
    for au, trust in trust_of(metadata).items():
        check, name = trust.check, facts.au_name(au)
        if check is None:
            entry[name] = {"checked": "no", "use": False}
            continue
        values = check.model_dump(include={"auc", "low", "high", "n", "present"})
        entry[name] = {"checked": check.on, **values, "on": check.data, "use": trust.use}
    return entry


def shown_aus(metadata: Metadata, all_aus: bool) -> tuple[int, ...]:
    """Return the action units that lines and pictures show: those to be used, or all of them.

    Of weights without any check all are shown.
    """
    trust = trust_of(metadata)
    return metadata.aus if all_aus or not trust else tuple(au for au in metadata.aus if trust[au].use)
