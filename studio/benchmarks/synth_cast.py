"""Print the distributions of the rendered people and of their action units, without rendering.

uv run python studio/benchmarks/synth_cast.py ict_facekit.npz [subjects] [stills of each]
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast import speech
from maeface_studio.cast.actions import plan_stills
from maeface_studio.cast.subjects import Subject, draw_subject, group_fractions
from maeface_studio.head import rig
from maeface_studio.head.rig import AUS, OCCURRENCE


def draw_labels(head: rig.Rig, subject: Subject, images: int) -> NDArray[np.int64]:
    """Return the integer intensities of a subject's stills, (images, AUs); AU25 from the measured lip gap."""
    neutral_gap = head.lip_gap(head.pose(subject.identity, {}))
    rows = []
    for image in plan_stills(0, subject, images):
        action = image.action
        parting = rig.intensity_to_weight(25, action.intensities.get(25, 0.0))
        posed = {au: level for au, level in action.intensities.items() if au != 25}
        weights = rig.shape_weights(posed, action.asymmetry, parting)
        for shape, value in action.speech.items():
            weights[shape] = weights.get(shape, 0.0) + value
        intensities = speech.add_spoken_intensities(posed, action.speech)
        gap = head.lip_gap(head.pose(subject.identity, weights)) - neutral_gap
        intensities[25] = rig.lip_gap_to_intensity(gap)
        rows.append([int(intensities.get(au, 0.0) + 0.5) for au in AUS])
    return np.array(rows)


def main(rig_file: Path, count: int = 60, images: int = 40) -> None:
    """Print the fractions of groups of people and of each AU's intensities, and the correlations of AUs."""
    subjects = [draw_subject(0, number) for number in range(count)]
    for kind, fractions in group_fractions(subjects).items():
        print(kind.ljust(8), "  ".join(f"{name} {100 * value:.1f} %" for name, value in fractions.items()))
    skin, sex, age = np.array(
        [(subject.appearance.melanin, subject.sex == "m", subject.appearance.age) for subject in subjects]
    ).T
    print("r of skin, sex, age", np.corrcoef([skin, sex, age])[np.triu_indices(3, 1)].round(3))
    head = rig.load(rig_file)
    levels = np.concatenate([draw_labels(head, subject, images) for subject in subjects])
    print(f"{len(levels)} stills; {np.mean(levels.sum(1) == 0):.1%} without any AU,", end=" ")
    print(f"{(levels >= OCCURRENCE).sum(1).mean():.2f} AUs a face")
    for au, column in zip(AUS, levels.T, strict=True):
        counts = Counter(column.tolist())
        percentages = " ".join(f"{100 * counts[level] / len(levels):5.1f}" for level in range(6))
        print(f"AU{au:02d} occurs {np.mean(column >= OCCURRENCE):6.1%}   intensities 0 to 5: {percentages}")
    correlation = np.corrcoef((levels >= OCCURRENCE).T.astype(float))
    pairs = [(correlation[i, j], AUS[i], AUS[j]) for i in range(len(AUS)) for j in range(i)]
    pairs.sort(key=lambda pair: -abs(pair[0]))
    print("greatest r of occurrence:", "  ".join(f"{b}+{a} {r:+.2f}" for r, a, b in pairs[:16]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(value) for value in sys.argv[2:]))
