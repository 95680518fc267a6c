"""The whole way to packaged weights, tiny: 24-pixel renders, a few portraits, two blocks."""

import json
import shutil
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface import facts, finetune
from maeface.data import manifest
from maeface.data.loading.dataset import gather_manifests
from maeface.data.tables import guide as guides
from maeface.data.tables import labels
from maeface.errors import ConfigError, DataError
from maeface.model import vit, weights
from maeface_studio.weights import make, order, recipe
from maeface_studio.weights.pseudo_labels import agree_with_occurrence, select_pseudo_labels

SMALL = [
    "name=small",
    "render.subjects=3",
    "render.images=2",
    "render.clips=0",
    "render.size=24",
    *(f"more_renders.{setting}" for setting in ("subjects=2", "images=1", "first_subject=3", "size=24")),
    "prepare.size=32",
    "prepare.videos=[]",
    *(f"pretrain.model.{setting}" for setting in ("image_size=16", "patch_size=8", "decoder_heads=2")),
    *(f"pretrain.{setting}" for setting in ("model.decoder_width=16", "model.decoder_depth=1")),
    *(f"finetune.{setting}" for setting in ("model.image_size=16", "data.folds=3", "data.validation=0.3")),
    *(
        f"{verb}.{setting}"
        for verb in ("pretrain", "finetune")
        for setting in ("optim.epochs=1", "optim.warmup_epochs=0", "optim.batch=8")
    ),
    *(
        f"{verb}.run.{setting}"
        for verb in ("pretrain", "finetune")
        for setting in ("device=cpu", "workers=0")
    ),
]


def settings(*more):
    return recipe.load("maeface-nano", [*SMALL, *more])


@pytest.fixture(scope="module")
def data(shared, rig_path, tmp_path_factory):
    """A data folder with a few portraits, two of them held out."""
    folder = tmp_path_factory.mktemp("data")
    shutil.copytree(rig_path.parent, folder / "rig")
    (folder / "photos" / "congress").mkdir(parents=True)
    held_out = facts.held_out_portraits()
    names = sorted(file.name for file in (shared / "photos" / "congress").glob("*.jpg"))
    held, free = ([name for name in names if (name in held_out) == kind] for kind in (True, False))
    for name in [*held[:2], *free[:4]]:
        shutil.copyfile(shared / "photos" / "congress" / name, folder / "photos" / "congress" / name)
    table = folder / "teacher.csv"
    table.write_text("source,AU12_o\n" + "".join(f"{name},{k % 2}\n" for k, name in enumerate(free[:4])))
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(vit.SIZES, "nano", vit.Shape(16, 2, 2))


def test_a_run_that_was_stopped_goes_on_and_repeats_nothing(
    shared, data, tmp_path, monkeypatch, needs_opengl
):
    monkeypatch.setenv("MAEFACE_WEIGHTS", str(shared / "weights"))
    out, how = tmp_path / "out", settings("scratch=true")

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finetune, "run", stopped)
        make.run(how, data, out, teacher=data / "teacher.csv")
    done = [out / name for name in ("synth", "synth-2", "portraits", "mae")]
    before = {path: path.stat().st_mtime_ns for base in done for path in base.rglob("*.[tsp]a[rf]*")}
    assert before
    summary = make.run(how, data, out, teacher=data / "teacher.csv")
    assert {path: path.stat().st_mtime_ns for path in before} == before

    (packed,) = summary.weights
    assert packed == out / "small.safetensors"
    _, metadata = weights.load_model(packed)
    assert metadata.preprocessing.mirror and metadata.provenance["stored_as"] == "bf16"
    assert metadata.provenance["render_seed"] == "1"
    assert metadata.task == "both" and len(metadata.aus) == 20
    assert (out / "small-from-scratch.safetensors").is_file()

    sources = set(manifest.load(out / "portraits")["source"])
    assert len(sources) == 4 and not sources & facts.held_out_portraits()
    labels = pd.read_parquet(out / "labels.parquet")
    real = labels["id"].str.contains(".jpg", regex=False)
    theirs = labels[real].set_index("id")
    assert len(theirs) == 4 and theirs["AU12_o"].notna().all() and theirs["AU12_i"].isna().all()
    assert theirs["AU12_L"].isna().all() and labels.loc[~real, "AU12_L"].between(0, 5).all()
    annotated = pd.read_csv(resources.files("maeface_studio.weights") / "annotations.csv", index_col="id")
    for face, row in theirs.iterrows():
        for au in how.annotations.aus:  # annotations come first, and the teacher fills their gaps
            name = f"{facts.au_name(au)}_o"
            label = annotated.loc[face, name]
            assert label != label or row[name] == label
    assert theirs["AU09_o"].eq(0).all() and theirs["AU15_o"].isna().all()
    assert len(labels) == 6 + 2 + 4
    assert {"S004/still0000.png#0.0", "S005/still0000.png#0.0"} < set(labels["id"])

    test = set(json.loads((out / "au" / "split.json").read_text())["test"])
    renders = pd.read_parquet(out / "scores" / "renders.parquet")
    assert {name.split("/")[0] for name in renders["id"]} == {name for name in test if name.startswith("S")}
    assert len(pd.read_parquet(out / "scores" / "portraits.parquet")) == 2
    assert {"renders", "renders from scratch"} <= set(summary.scores)
    scored = (out / "scores" / "renders.parquet").stat().st_mtime_ns
    again = make.run(how, data, out, teacher=data / "teacher.csv")
    assert (out / "scores" / "renders.parquet").stat().st_mtime_ns == scored
    assert again.scores["renders"].means == pytest.approx(summary.scores["renders"].means, nan_ok=True)

    with pytest.raises(ConfigError, match=r"labels_sha256|faces: "):
        make.run(how, data, out)


def test_the_sides_of_renders_come_into_the_labels_and_photographs_have_none(tmp_path):
    for folder in ("renders", "photos"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (24, 24)).save(tmp_path / folder / f"{folder}.png")
    rendered, teacher = tmp_path / "renders" / "labels.parquet", tmp_path / "teacher.csv"
    labelled = {"source": ["renders.png"], "AU12_o": [1], "AU12_i": [2], "AU12_L": [4.0], "AU12_R": [0.0]}
    pd.DataFrame(labelled).to_parquet(rendered)
    teacher.write_text("source,AU12_o\nphotos.png,1\n")
    real = [tmp_path / "photos"]
    path = make._write_labels(tmp_path, [tmp_path / "renders"], real, teacher, recipe.Recipe())
    found = labels.join_labels(gather_manifests([tmp_path / "renders", *real]), path)
    assert found.aus_sides == (12,) and found.sides.tolist() == [[4, 0], [0, 0]]
    assert found.sides_mask.tolist() == [[True, True], [False, False]]


def test_annotations_that_nobody_made_are_refused(data, tmp_path):
    with pytest.raises(
        ConfigError, match=r"annotations\.aus: annotations\.csv has no AU07; it has AU01, AU02"
    ):
        make.run(settings("annotations.aus=[7, 12]"), data, tmp_path / "out")


def test_what_the_data_folder_lacks_is_named(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"lacks photos/congress, videos, photos/darwin, "
        r"rig/ict_facekit\.npz, rig/makehuman_shapes\.npz; studio",
    ):
        make.run(recipe.load("maeface-tiny"), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_held_out_portraits_alone_are_nothing_to_learn_from(tmp_path):
    folder = tmp_path / "photos" / "congress"
    folder.mkdir(parents=True)
    (folder / sorted(facts.held_out_portraits())[0]).touch()
    (tmp_path / "rig").mkdir()
    (tmp_path / make.RIG).touch()
    with pytest.raises(ConfigError, match="no photograph to learn from in photos/congress"):
        make.list_sources(settings(), tmp_path)


def test_only_confident_predictions_of_chosen_action_units_become_labels(tmp_path):
    table = tmp_path / "teacher.csv"
    table.write_text(
        "source,frame,face,AU12_p,AU12_i,AU06_p,jawOpen\n"
        "a.jpg,0,0,0.05,0.2,0.9,0.1\nb.jpg,0,0,0.3,2,0.9,0.1\nc.mp4,4,0,0.5,3,0.9,0.1\nd.jpg,0,0,,,,\n"
    )
    with pytest.raises(
        ConfigError, match=r"has probabilities; choose the action units to take, such as --set pseudo_labels"
    ):
        select_pseudo_labels(table, {}, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"has no AU43, which pseudo_labels\.aus names"):
        select_pseudo_labels(table, {43: (0.1, 0.5)}, tmp_path / "t.parquet")
    assert settings("pseudo_labels.aus.12=[0.1,0.5]").pseudo_labels.aus[12] == (0.1, 0.5)
    how = {12: (0.1, 0.5)}
    rows = pd.read_parquet(select_pseudo_labels(table, how, tmp_path / "t.parquet")).set_index("source")
    assert list(rows.columns) == ["frame", "face", "AU12_o"]
    assert rows["AU12_o"].fillna(-1).to_dict() == {"a.jpg": 0, "b.jpg": -1, "c.mp4": 1}
    assert rows.loc["c.mp4", "frame"] == 4
    with pytest.raises(ConfigError, match=r"no such file: .*none"):
        select_pseudo_labels(tmp_path / "none.csv", how, tmp_path / "t.parquet")
    for bad in ("bad.csv", "bad.parquet"):
        (tmp_path / bad).write_bytes(b"")
        with pytest.raises(DataError, match=f"{bad} is no readable table"):
            select_pseudo_labels(tmp_path / bad, how, tmp_path / "t.parquet")
    labels = tmp_path / "labels.csv"
    labels.write_text("source,AU12_o\na.jpg,1\n")
    assert select_pseudo_labels(labels, how, tmp_path / "t.parquet") == labels


def test_intensities_of_real_faces_follow_the_teacher_and_the_occurrence(tmp_path):
    table = tmp_path / "predicted.csv"
    smiles = [0.0, 0.1, 0.5, 0.9]
    pd.DataFrame({"source": list("abcd"), "frame": 0, "face": 0, "AU12_p": smiles}).to_csv(table, index=False)
    levels = {12: (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)}
    rows = pd.read_parquet(select_pseudo_labels(table, {12: (0.3, 0.6)}, tmp_path / "t.parquet", levels))
    np.testing.assert_allclose(rows["AU12_i"], [0, 0.5, 2.5, 4.5])
    rows["AU12_o"] = [1, 0, np.nan, 1]  # an annotator saw a smile that the teacher did not
    agreed = agree_with_occurrence(rows, [12])
    assert agreed["AU12_i"].tolist() == pytest.approx([1, 0, 2.5, 4.5])
    assert rows["AU12_i"].iloc[0] == 0, "the table itself is unchanged"


def test_wrong_levels_of_intensity_are_refused_with_the_recipe():
    for override, words in (
        ("pseudo_labels.intensities.6=[0,0.2,0.4,0.6,0.8,1]", "AU 6, which is not in aus"),
        ("pseudo_labels.intensities.12=[0,0.6,0.4,0.6,0.8,1]", "expected ascending"),
    ):
        with pytest.raises(ConfigError, match=words):
            recipe.load("maeface-nano-motion", [override])


@pytest.mark.parametrize("name", ["maeface-nano", "maeface-tiny"])
def test_the_rendered_people_are_not_those_of_the_demo(name):
    how = recipe.load(name)
    sample = json.loads((demo_sample() / "prepare.json").read_text())["settings"]
    assert how.render.seed != sample["seed"]


def demo_sample():
    from maeface import demo

    return demo.sample_folder()


def test_an_order_of_frames_needs_a_teacher_that_measures(data, tmp_path):
    how = recipe.load("maeface-nano-motion", [*SMALL, "prepare.plates=[]"])
    for teacher in (None, data / "teacher.csv"):
        with pytest.raises(ConfigError, match=r"give --teacher face_landmarker\.task"):
            make.run(how, data, tmp_path / "out", teacher)


def test_videos_are_held_out_by_their_names(tmp_path):
    for name in ("a.mp4", "b.mp4", ".hidden"):
        (tmp_path / name).touch()
    assert make._list_videos([tmp_path], ()) == [tmp_path]
    assert make._list_videos([tmp_path], ["b.mp4"]) == [tmp_path / "a.mp4"]


@pytest.mark.parametrize("name", sorted(path.stem for path in recipe.RECIPES.glob("*.toml")))
def test_every_recipe_is_read(name):
    how = recipe.load(name)
    assert how.name == name and set(how.finetune.relative.measures) <= set(how.finetune.model.aus)


def test_weights_that_are_not_free_are_not_packed_as_free_ones(data, tmp_path):
    start = tmp_path / "mae_pretrain_vit_base.pth"  # known by its name, for non-commercial use
    start.touch()
    for more, match in (
        ((f"init={start}",), r"start from \S+ cannot be packed as Apache-2\.0: its licence is CC-BY-NC-4\.0"),
        ((f"pretrain.init={start}",), r"cannot be packed as Apache-2\.0"),
        (("init=maeface-nano", "pack.licence=CC-BY-NC-4.0"), r"pack\.licence: expected a free licence"),
    ):
        with pytest.raises(ConfigError, match=match):
            make.run(settings(*more), data, tmp_path / "out")
    assert not (tmp_path / "out" / make.RENDERS).exists()


def test_renders_of_a_person_are_compared_by_their_labels_and_frames_by_the_teacher(tmp_path):
    rows = {"id": ["r1", "r2", "f1", "f2", "f3"], "subject": ["S1", "S1", None, None, None]}
    rows |= {"clip": [None, None, "film", "film", "film"]}
    rows |= {"AU12_i": [0.0, 4.0, np.nan, np.nan, np.nan], "AU09_i": [1.0, 3.0, np.nan, np.nan, np.nan]}
    pd.DataFrame(rows).to_parquet(tmp_path / "labels.parquet")
    smiles = {"id": ["f1", "f2", "r2"], "mouthSmile": [0.2, 0.6, 0.9]}  # r1 and f3 were not measured
    pd.DataFrame(smiles).to_parquet(tmp_path / "measures.parquet")
    labelled, measures, columns = order.write_order(
        tmp_path / "labels.parquet",
        tmp_path / "measures.parquet",
        ["r1", "r2"],
        (9, 12),
        {12: "mouthSmile"},
        tmp_path,
    )
    assert pd.read_parquet(labelled)["clip"].tolist() == ["S1", "S1", "film", "film", "film"]
    table = pd.read_parquet(measures).set_index("id")
    assert columns == {9: "order09", 12: "order12"}
    smile = table.loc[["r1", "r2", "f1", "f2"], "order12"]
    np.testing.assert_allclose(
        smile, [0, 4 / np.std([0, 4], ddof=1), 0.2 / 0.2828427, 0.6 / 0.2828427], rtol=1e-6
    )
    assert table.loc[["f1", "f2"], "order09"].isna().all() and "f3" not in table.index
    guide = guides.read(measures, ["r1", "r2", "f1", "f2", "f3"])
    assert {"order09", "order12"} <= set(guide.names), "finetune can compare by them"
