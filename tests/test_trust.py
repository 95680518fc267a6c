"""How far each AU was checked: in the metadata of weights, as a rule, and in the record."""

import json
from importlib import resources

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from maeface.errors import WeightsError
from maeface.model import weights
from maeface.model.arrays import load_arrays
from maeface.model.au import AUModel
from maeface.model.file_format import metadata as file_metadata
from maeface.model.file_format.metadata import Check
from maeface.model.trust import GOOD_AUC, USE_AUC, trust_entry, trust_of
from maeface.model.vit import ViT
from maeface.model.weights import Preprocessing


def model() -> AUModel:
    torch.manual_seed(0)
    return AUModel(ViT((12, 2, 3), 16, 4), (1, 12, 25), "both").eval()


def check(**more) -> Check:
    values = {
        "on": "real",
        "data": "portraits",
        "auc": 0.9,
        "low": 0.85,
        "high": 0.95,
        "n": 100,
        "present": 40,
    }
    return Check(**values | more)


def describe(**checks_by_au):
    metadata = weights.describe(model(), Preprocessing(image_size=16))
    return metadata.model_copy(update={"checks": {int(au[2:]): one for au, one in checks_by_au.items()}})


def edited(path, change):
    """Change the metadata of a file as another version would have written them, with a right SHA-256."""
    with safe_open(path, "pt") as file:
        values = json.loads(file.metadata()["maeface"])["metadata"]
    change(values)
    tensors = load_file(path)
    header = {"metadata": values, "sha256": file_metadata._digest(values, tensors)}
    save_file(tensors, path, metadata={"maeface": json.dumps(header, sort_keys=True)})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "au.safetensors"
    weights.save(path, model(), describe(AU12=check(), AU01=check(on="renders")))
    return path


def test_checks_come_back_with_and_without_torch(file):
    expected = {12: check(), 1: check(on="renders")}
    assert weights.read_metadata(file).checks == expected
    assert load_arrays(file)[1].checks == expected


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_older_files_have_no_checks_and_become_new_when_written(file, version, tmp_path):
    def become_old(values):
        del values["checks"], values["calibration"], values["unlike"]
        values["format_version"] = version

    edited(file, become_old)
    metadata = weights.read_metadata(file)
    assert metadata.checks == {} and trust_of(metadata) == {} and trust_entry(metadata) == {}
    weights.write_metadata(file, metadata.model_copy(update={"checks": {12: check()}}))
    again = weights.read_metadata(file)
    assert (again.format_version, again.checks) == (file_metadata.FORMAT_VERSION, {12: check()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low": 0.96}, "upside down"),
        ({"present": 100}, "none without it"),
        ({"auc": 1.2}, "less than or equal to 1"),
        ({"on": "paintings"}, "real"),
    ],
)
def test_wrong_checks_are_refused(file, change, message):
    edited(file, lambda values: values["checks"]["12"].update(change))
    with pytest.raises(WeightsError, match=message):
        weights.read_metadata(file)


def test_a_check_of_an_au_that_is_not_predicted_is_refused(file):
    edited(file, lambda values: values["checks"].update({"9": values["checks"]["12"]}))
    with pytest.raises(WeightsError, match=r"checks of AUs \[9\]"):
        weights.read_metadata(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"12": {"scale": 0.0}}, "greater than 0"),
        ({"12": {"offset": float("nan")}}, "finite"),
        ({"9": {}}, r"calibration of AUs \[9\]"),
    ],
)
def test_a_wrong_calibration_is_refused(file, change, message):
    right = {"scale": 0.8, "offset": 0.1, "on": "real", "data": "portraits", "n": 100, "present": 40}
    edited(file, lambda values: values["calibration"].update({au: right | one for au, one in change.items()}))
    with pytest.raises(WeightsError, match=message):
        weights.read_metadata(file)


@pytest.mark.parametrize(
    ("dtype", "part_bytes"), [("fp32", None), ("bf16", None), ("int8", None), ("fp32", 12_000)]
)
def test_new_tensors_are_stored_unrounded_and_the_others_keep_their_bytes(tmp_path, dtype, part_bytes):
    path = tmp_path / "au.safetensors"
    files = weights.save(path, model(), describe(), dtype, part_bytes)
    before = {name: t.clone() for one in files for name, t in load_file(one).items()}
    head = {"head.weight": torch.rand(6, 12), "head.bias": torch.rand(6)}
    assert weights.write_metadata(path, describe(), head) == files
    after = {name: t for one in files for name, t in load_file(one).items()}
    others = before.keys() - head.keys() - {"head.weight_scale"}
    assert after.keys() == others | head.keys()
    assert all(after[name].dtype == before[name].dtype for name in others)
    assert all(torch.equal(after[name], before[name]) for name in others)
    loaded, arrays = weights.load_model(path)[0].head, load_arrays(path)[0]
    assert torch.equal(loaded.weight, head["head.weight"]) and torch.equal(loaded.bias, head["head.bias"])
    assert (arrays["head.weight"] == head["head.weight"].numpy()).all()
    with pytest.raises(WeightsError, match=r"not saved to .*head\.bias"):
        weights.write_metadata(path, describe(), {"head.bias": torch.full((6,), torch.nan)})


@pytest.mark.parametrize(
    ("dtype", "part_bytes"), [("fp32", None), ("bf16", None), ("int8", None), ("fp32", 12_000)]
)
def test_new_metadata_leave_every_byte_of_the_tensors(tmp_path, dtype, part_bytes):
    path = tmp_path / "au.safetensors"
    files = weights.save(path, model(), describe(), dtype, part_bytes)
    before = [{name: (t.dtype, t.clone()) for name, t in load_file(one).items()} for one in files]
    changed = describe(AU12=check()).model_copy(update={"thresholds": (0.1, 0.2, 0.3)})
    assert weights.write_metadata(path, changed) == files
    for one, tensors in zip(files, before, strict=True):
        now = load_file(one)
        assert now.keys() == tensors.keys()
        assert all(
            now[name].dtype == dtype and torch.equal(now[name], t) for name, (dtype, t) in tensors.items()
        )
    metadata = weights.load_model(path)[1]
    assert metadata.thresholds == (0.1, 0.2, 0.3) and metadata.checks == {12: check()}


def test_the_rule_asks_for_real_people_and_a_sure_auc():
    trust = trust_of(
        describe(AU01=check(on="renders", low=0.99, high=1.0), AU12=check(low=USE_AUC), AU25=check(low=0.79))
    )
    assert {au: one.use for au, one in trust.items()} == {1: False, 12: True, 25: False}
    assert str(trust[12]) == "AUC 0.90 [0.80, 0.95] on 100 real faces, 40 with it"
    assert "rendered faces only" in str(trust[1])


def test_the_entry_of_the_record():
    entry = trust_entry(describe(AU12=check(), AU25=check(on="renders")))
    assert entry["AU12"] == {
        "checked": "real",
        "auc": 0.9,
        "low": 0.85,
        "high": 0.95,
        "n": 100,
        "present": 40,
        "on": "portraits",
        "use": True,
        "advice": "with care",
    }
    assert entry["AU25"]["checked"] == "renders" and entry["AU25"]["use"] is False
    assert entry["AU01"] == {"checked": "no", "use": False, "advice": "no"}
    assert json.loads(json.dumps(entry)) == entry


def test_the_packaged_weights_know_smiles_lips_and_cheeks():
    metadata = weights.read_metadata(weights.find())
    trust = trust_of(metadata)
    assert {au for au, one in trust.items() if one.use} == {6, 12, 25}
    assert set(trust) == set(metadata.aus) and all(one.check for one in trust.values())
    portraits = (resources.files("maeface") / "datasets" / "portraits.csv").read_text().splitlines()
    assert trust[12].check.n == len(portraits) - 1
    assert len(metadata.thresholds) == 20 and all(0.05 <= one <= 0.99 for one in metadata.thresholds)


@pytest.mark.parametrize(
    ("low", "advice"),
    [(GOOD_AUC, "yes"), (GOOD_AUC - 0.001, "with care"), (USE_AUC, "with care"), (USE_AUC - 0.001, "no")],
)
def test_the_interval_says_yes_with_care_or_no(low, advice):
    trust = trust_of(describe(AU12=check(low=low), AU25=check(on="renders", low=0.99, high=1.0)))
    assert {au: one.advice for au, one in trust.items()} == {1: "no", 12: advice, 25: "no"}
