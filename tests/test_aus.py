"""``maeface aus``: a line for each AU, all about one, and mistyped names."""

import io

import pytest
import torch
from PIL import Image
from rich.console import Console

from maeface import aus, facts
from maeface.errors import ConfigError, WeightsError
from maeface.model import weights, zoo
from maeface.model.au import AUModel
from maeface.model.file_format.metadata import Check, Unlike
from maeface.model.vit import ViT
from maeface.model.weights import Preprocessing


def shown(summaries) -> str:
    stream = io.StringIO()
    Console(file=stream, width=400).print(aus.render(summaries), soft_wrap=True)
    return stream.getvalue()


@pytest.fixture
def own(tmp_path):
    """Weights of somebody's own: AU12 was checked on real people, AU1 not at all, and AU99 has no facts."""
    torch.manual_seed(0)
    model = AUModel(ViT((12, 2, 3), 16, 4), (1, 12, 99), "both").eval()
    metadata = weights.describe(model, Preprocessing(image_size=16), thresholds=(0.5, 0.4, 0.5))
    check = Check(on="real", data="my people", auc=0.9, low=0.85, high=0.95, n=100, present=40)
    path = tmp_path / "own.safetensors"
    weights.save(path, model, metadata.model_copy(update={"checks": {12: check}}))
    return path


@pytest.fixture
def unchecked(tmp_path):
    torch.manual_seed(0)
    model = AUModel(ViT((12, 2, 3), 16, 4), (1, 12), "intensity").eval()
    path = tmp_path / "new.safetensors"
    weights.save(path, model, weights.describe(model, Preprocessing(image_size=16)))
    return path


def test_each_au_of_the_weights_has_one_line(own):
    lines = shown(aus.run(weights=own)).splitlines()
    assert lines[0].startswith("AU01 Inner brow raiser (frontalis, medial part): The inner ends")
    assert lines[0].endswith("Do not use it on real faces: not checked")
    assert lines[1].endswith("Use it with care: AUC 0.90 [0.85, 0.95] on 100 real faces, 40 with it")
    assert lines[2].startswith("AU99 ") and len(lines) == 5
    assert lines[3] == "Licence of own: not stated"


def test_the_packaged_weights_are_the_default():
    summaries = aus.run()
    assert [one.number for one in summaries] == list(weights.read_metadata(weights.find()).aus)
    assert {one.weights for one in summaries} == {zoo.DEFAULT}
    text = shown(summaries)
    assert text.count("Use it: AUC") == 2 and text.count("Use it with care: AUC") == 1


def test_one_au_has_text_threshold_check_and_picture(own):
    text = shown(aus.run("AU12", own))
    for part in (
        "zygomaticus major",
        facts.AUS[12].details[:20],
        "0.40",
        "my people",
        "AU12.jpg",
        "E) maximum",
    ):
        assert part in text


@pytest.mark.parametrize("name", ["AU12", "au12", "12", " AU 12", "Lip corner puller", "lip corner PULLER"])
def test_an_au_is_named_by_number_or_name(name):
    assert [one.number for one in aus.run(name)] == [12]


def test_an_au_that_the_weights_lack_is_explained_all_the_same(own):
    text = shown(aus.run("AU9", own))
    assert "AU09 Nose wrinkler" in text and "these weights do not predict it" in text


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("dimpled", "AU14 Dimpler"),
        ("Cheek riser", "AU06 Cheek raiser"),
        ("smile", "AU12 Lip corner puller"),
        ("frown", "AU04 Brow lowerer or AU15 Lip corner depressor"),
        ("pout", "AU17 Chin raiser or AU18 Lip pucker"),
        ("wink", "AU43 Eyes closed or AU45 Blink"),
        ("dimple", "AU14 Dimpler"),
        ("smiling", "AU12 Lip corner puller"),
        ("frowning", "AU04 Brow lowerer or AU15 Lip corner depressor"),
        ("squint", "AU06 Cheek raiser or AU07 Lid tightener"),
        (
            "Surprise",
            "AU01 Inner brow raiser or AU02 Outer brow raiser or AU05 Upper lid raiser or AU26 Jaw drop",
        ),
        ("kiss", "AU18 Lip pucker"),
        ("brow", "AU01 Inner brow raiser or AU02 Outer brow raiser or AU04 Brow lowerer"),
    ],
)
def test_a_mistyped_name_and_a_word_of_the_description_say_what_is_meant(name, near):
    with pytest.raises(ConfigError, match=rf"^no action unit '{name}'; did you mean {near}\?$"):
        aus.run(name)


@pytest.mark.parametrize("name", ["AU13", "AU3", "AU98", "quantum", ""])
def test_a_name_like_no_other_gets_the_list(name):
    with pytest.raises(
        ConfigError,
        match=rf"^no action unit '{name}'; expected one of AU01 Inner brow raiser, AU02 .*, AU45 Blink$",
    ):
        aus.run(name)


def test_weights_without_checks_say_so(unchecked):
    assert aus.UNKNOWN in shown(aus.run(weights=unchecked))
    text = shown(aus.run("12", unchecked))
    assert aus.UNKNOWN in text and "present from" not in text


def test_weights_that_know_their_faces_say_so(unchecked):
    assert aus.UNLIKE not in shown(aus.run(weights=unchecked))
    metadata = weights.read_metadata(unchecked)
    width = metadata.encoder.width
    tensors = {"unlike.mean": torch.zeros(width), "unlike.factor": torch.eye(width)}
    known = Unlike(data="faces", n=9, within=0.9)
    weights.write_metadata(unchecked, metadata.model_copy(update={"unlike": known}), tensors)
    assert aus.UNLIKE in shown(aus.run(weights=unchecked))


def test_wrong_weights_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="no-such"):
        aus.run(weights="no-such")


def test_pictures_are_there_small_and_six_faces_wide():
    sizes = []
    for number in facts.dataset("synthau").aus_occurrence:
        path = aus.find_picture(number)
        assert path is not None, number
        sizes.append(path.stat().st_size)
        with Image.open(path) as picture:
            assert picture.width >= 6 * (picture.height - 20)
    assert max(sizes) <= 40_000 and sum(sizes) <= 1_000_000
    assert aus.find_picture(99) is None


def test_every_au_of_the_weights_has_more_text():
    assert all(len(facts.AUS[number].details) > 60 for number in facts.dataset("synthau").aus_occurrence)


def test_who_looks_for_blinks_is_told_where_they_are_counted():
    assert "In films, blinks are counted from AU43" in shown(aus.run("blink"))
