"""How the cast of `maeface synth` is made up: people, action units, their correlation. Nothing is rendered.

uv run python benchmarks/synth_cast.py ict_facekit.npz [subjects] [stills of each]
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast import actions, speech, subjects
from maeface_studio.head import rig
from maeface_studio.head.rig import AUS, OCCURRENCE


def labels(head: rig.Rig, who: subjects.Subject, images: int) -> NDArray[np.int64]:
    """Whole-number intensities of a subject's stills, (images, AUs); AU25 as the lips are parted."""
    gap = head.lip_gap(head.vertices(who.identity, {}))
    rows = []
    for shot in actions.plan_stills(0, who, images):
        action = shot.action
        parting = rig.intensity_to_weight(action.intensities.get(25, 0.0))
        posed = {au: level for au, level in action.intensities.items() if au != 25}
        weights = rig.shape_weights(posed, action.asymmetry, parting)
        for shape, value in action.speech.items():
            weights[shape] = weights.get(shape, 0.0) + value
        true = speech.add_spoken_intensities(posed, action.speech)
        true[25] = rig.lip_gap_to_intensity(head.lip_gap(head.vertices(who.identity, weights)) - gap)
        rows.append([int(true.get(au, 0.0) + 0.5) for au in AUS])
    return np.array(rows)


def main(rig_file: Path, subjects: int = 60, images: int = 40) -> None:
    """Print shares of people, shares of every AU's intensities, and the correlations of occurrence."""
    everyone = [subjects.draw_subject(0, number) for number in range(subjects)]
    for kind, found in subjects.group_fractions(everyone).items():
        print(kind.ljust(8), "  ".join(f"{name} {100 * share:.1f} %" for name, share in found.items()))
    skin, sex, age = np.array([(w.appearance.melanin, w.sex == "m", w.appearance.age) for w in everyone]).T
    print("r of skin, sex, age", np.corrcoef([skin, sex, age])[np.triu_indices(3, 1)].round(3))
    head = rig.load(rig_file)
    found = np.concatenate([labels(head, who, images) for who in everyone])
    print(f"{len(found)} stills; {np.mean(found.sum(1) == 0):.1%} without any AU,", end=" ")
    print(f"{(found >= OCCURRENCE).sum(1).mean():.2f} AUs a face")
    for au, column in zip(AUS, found.T, strict=True):
        counts = Counter(column.tolist())
        shares = " ".join(f"{100 * counts[level] / len(found):5.1f}" for level in range(6))
        print(f"AU{au:02d} occurs {np.mean(column >= OCCURRENCE):6.1%}   intensities 0 to 5: {shares}")
    together = np.corrcoef((found >= OCCURRENCE).T.astype(float))
    pairs = [(together[i, j], AUS[i], AUS[j]) for i in range(len(AUS)) for j in range(i)]
    pairs.sort(key=lambda pair: -abs(pair[0]))
    print("greatest r of occurrence:", "  ".join(f"{b}+{a} {r:+.2f}" for r, a, b in pairs[:16]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(value) for value in sys.argv[2:]))
