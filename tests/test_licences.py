"""The licence of weights: inherited from a start that is not free, shown, refused where it must be."""

import json

import pytest
import torch

import drawn
from maeface import aus, finetune, pretrain
from maeface.errors import ConfigError
from maeface.model import licences, public_encoders, vit, weights, zoo
from maeface.model.file_format.metadata import Start
from maeface.model.mae import MAE
from maeface.model.vit import ViT
from maeface.prediction.record import make_header


def stated(settings, licence):
    return settings.model_copy(update={"licence": licence})


NONE = {"epochs": 0, "warmup_epochs": 0}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    base = tmp_path_factory.mktemp("licences")
    return drawn.faces(base / "crops"), drawn.labels(base / "labels.csv")


@pytest.fixture
def public(tmp_path):
    """A file with the name of MAE's public weights, which are for non-commercial use."""
    path = tmp_path / public_encoders.ENCODERS["mae-base"].file
    torch.manual_seed(1)
    torch.save({"model": MAE(ViT((16, 2, 2), 16, 8), 16, 1, 2).encoder.state_dict()}, path)
    return path


def test_a_start_that_is_not_free_is_inherited_to_the_end(faces, public, tmp_path):
    mae = pretrain.run(drawn.pretrain(NONE, init=str(public)), [faces[0]], tmp_path / "mae")
    metadata = weights.read_metadata(mae)
    assert metadata.licence == "CC-BY-NC-4.0"
    assert metadata.start == Start(
        name=public.name, sha256=metadata.provenance["init_sha256"], licence="CC-BY-NC-4.0"
    )
    au = finetune.run(drawn.finetune(optim=NONE), [faces[0]], faces[1], str(mae), tmp_path / "au")
    metadata = weights.read_metadata(au)
    assert metadata.licence == "CC-BY-NC-4.0" and metadata.start.name == "weights.safetensors"
    packed = weights.repack(au, tmp_path / "small.safetensors", "int8")[0]
    assert weights.read_metadata(packed).licence == "CC-BY-NC-4.0"

    for verb in ("pretrain", "finetune"):
        out = tmp_path / f"refused-{verb}"
        with pytest.raises(
            ConfigError, match=r"derive from \S+, whose licence is CC-BY-NC-4\.0, .*cannot be MIT"
        ):
            if verb == "pretrain":
                settings = stated(drawn.pretrain(NONE, init=str(public)), "MIT")
                pretrain.run(settings, [faces[0]], out)
            else:
                finetune.run(stated(drawn.finetune(optim=NONE), "MIT"), [faces[0]], faces[1], str(mae), out)
        assert not (out / "weights.safetensors").exists()

    record = make_header(au, [au], None, {})
    assert record["weights"]["licence"] == "CC-BY-NC-4.0"
    assert "Licence of weights: CC-BY-NC-4.0" in aus.render(aus.run(weights=au))


def test_what_a_maker_states_is_kept_where_nothing_forbids_it(faces, tmp_path):
    settings = stated(drawn.finetune(optim=NONE), "CC-BY-4.0")
    path = finetune.run(settings, [faces[0]], faces[1], "random", tmp_path / "au")
    metadata = weights.read_metadata(path)
    assert (metadata.licence, metadata.start) == ("CC-BY-4.0", None)
    plain = finetune.run(drawn.finetune(optim=NONE), [faces[0]], faces[1], "random", tmp_path / "plain")
    assert weights.read_metadata(plain).licence == ""
    assert "Licence of weights: not stated" in aus.render(aus.run(weights=plain))


@pytest.mark.parametrize(
    ("stated", "start", "expected"),
    [
        ("", None, ""),
        ("MIT", None, "MIT"),
        ("", "MIT", ""),  # the data may have another licence
        ("Apache-2.0", "MIT", "Apache-2.0"),
        ("Apache-2.0", "", "Apache-2.0"),  # of unknown origin here, known to the maker
        ("", "CC-BY-NC-4.0", "CC-BY-NC-4.0"),
        ("CC-BY-NC-4.0", "CC-BY-NC-4.0", "CC-BY-NC-4.0"),
    ],
)
def test_what_follows_from_a_start(stated, start, expected):
    origin = None if start is None else Start(name="x", sha256="0", licence=start)
    assert licences.inherit(stated, origin) == expected


def test_files_are_known_by_what_they_say(public, tmp_path):
    assert licences.licence_of(public) == "CC-BY-NC-4.0"
    assert not licences.is_free(public_encoders.ENCODERS["mae-face"].licence)  # it started from the above
    assert licences.is_free(public_encoders.ENCODERS["farl"].licence)
    assert {licences.licence_of(weights.find(name)) for name in zoo.names()} == {"Apache-2.0"}
    assert all(licences.is_free(licences.licence_of(weights.find(name))) for name in zoo.names())
    other = tmp_path / "other.pth"
    torch.save({}, other)
    assert licences.licence_of(other) == licences.licence_of(tmp_path / "absent") == ""


def test_a_file_of_an_older_format_states_nothing(tmp_path):
    model = MAE(ViT((16, 2, 2), 16, 8), 16, 1, 2)
    path = tmp_path / "old.safetensors"
    metadata = weights.describe(model, weights.Preprocessing(image_size=16))
    weights.save(path, model, metadata)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    own = json.loads(header["__metadata__"]["maeface"])
    assert own["metadata"].pop("licence") == ""
    header["__metadata__"]["maeface"] = json.dumps(own)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    assert licences.licence_of(path) == ""
