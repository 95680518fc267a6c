"""Reports and figures of experiments: what they say, and that every form of them is sound."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import drawn
import experiment_parts as parts
from maeface import config, facts
from maeface.errors import ConfigError, DataError, WeightsError
from maeface.experiments.figures import reconstructions
from maeface.experiments.figures.figure import draw
from maeface.experiments.reporting import caveats, comparison, pooled, report, results, scores
from maeface.experiments.reporting.comparison import PaperTable
from maeface.experiments.settings import Experiment, Figure, Row
from maeface.model import weights
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.mae import MAE
from maeface.model.vit import ViT
from maeface.report import charts, html, latex, markdown
from maeface.report.document import Document, Section, Table

NASTY = r"50% of a_b & {c} $d #e ~f ^g \h <i> | JÂA-Net 0–1 --x 中"


@pytest.fixture
def few(monkeypatch):
    """Fewer resamples: what is looked at is not the interval."""
    monkeypatch.setattr(pooled.pool_folds, "__defaults__", (60, 0))


@pytest.fixture
def finished(tmp_path, few):
    """Two rows of two folds in the layout of BP4D, of rendered faces."""
    for row, skill in (("mae-face", 3.0), ("scratch", 0.3)):
        for fold, subjects in (("P1", ["F001", "F002", "F008"]), ("P2", ["F003", "F005"])):
            parts.write(
                tmp_path, row, fold, subjects, skill=skill, note=["rendered faces", f"{fold} is small"]
            )
    return tmp_path


@pytest.fixture
def recipe():
    return Experiment(
        name="mini",
        title="A miniature",
        dataset="bp4d",
        protocol="threefold",
        published="table5",
        rows=(Row(name="mae-face", method="MAE-Face"), Row(name="scratch", method="train from scratch")),
    )


class Cells(HTMLParser):
    """The text of a page, the rows of its tables, and what it would fetch."""

    def __init__(self):
        super().__init__()
        self.rows, self.text, self.fetched, self.warned = [], [], [], []
        self._cell = self._warning = False

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        self._cell = tag in ("td", "th") or (self._cell and tag != "tr")
        self._warning = self._warning or attrs.get("class") == "warning"
        source = attrs.get("src") or (attrs.get("href") if tag != "a" else None)
        if source and not source.startswith("data:"):
            self.fetched.append(source)
        if tag == "script":
            self.fetched.append("script")

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")
        self._warning = self._warning and tag != "div"

    def handle_data(self, data):
        self.text.append(data)
        if self._cell:
            self.rows[-1].append(data)
        if self._warning:
            self.warned.append(data)

    def row(self, first):
        """The rows that begin so."""
        return [row for row in self.rows if row and row[0] == first]


def read(path):
    cells = Cells()
    cells.feed(path.read_text())
    return cells


def test_a_report_stands_in_every_form_and_says_what_it_is_not(finished, recipe):
    html = report.write(finished, recipe, results.load(finished), {"MAE-IN1k": "give --weights in1k=FILE"})
    page = read(html)
    assert page.fetched == []
    warned = " ".join(page.warned)
    assert "not a reproduction of the paper" in warned
    assert warned.count("rendered faces") == 1 and "P1 is small" in warned and "P2 is small" in warned
    assert "3 of 14 in P1" in warned and "146,847" in warned and "1 missing" in warned
    assert page.row("MAE-IN1k") == [["MAE-IN1k", "give --weights in1k=FILE"]]
    names = {path.name for path in finished.iterdir()} - {"parts"}
    assert names == {"report.html", "report.md", "report.tex", "scores.csv", "figures"}
    named = re.findall(r"\]\((figures/[^)]+)\)", (finished / "report.md").read_text())
    assert named == re.findall(r"\{(figures/[^}]+)\}", (finished / "report.tex").read_text()) != []
    for name in named:
        with Image.open(finished / name) as image:
            assert image.width > 300
    for text in ("report.md", "report.tex"):
        assert "not a reproduction of the paper" in (finished / text).read_text()


def test_numbers_of_the_report_are_those_of_the_tables(finished, recipe):
    found = results.load(finished)
    page = read(report.write(finished, recipe, found))
    table = pd.read_csv(finished / "scores.csv")
    chosen = table[(table["metric"] == "f1") & (table["row"] == "mae-face")]
    mean = chosen[chosen["au"] == "avg"].groupby("fold")["value"].mean().mean()
    result, per_au = page.row("MAE-Face")[0], page.row("MAE-Face (this run)")[0]
    head = next(row for row in page.rows if row[:1] == ["row"] and "mean" in row)
    assert head[:6] == ["row", "95 % from", "to", "splits from", "splits to", "mean"]
    assert result[head.index("mean")] == per_au[-1] == f"{100 * mean:.1f}"
    auc = table[(table["metric"] == "auc") & (table["row"] == "mae-face") & (table["au"] == "avg")]["value"]
    assert result[head.index("AUC")] == f"{100 * auc.mean():.1f}"
    ends = [float(result[head.index(name)]) for name in ("AUC 95 % from", "AUC to")]
    assert ends[0] < 100 * auc.mean() < ends[1]
    assert f"95 % interval over subjects {result[1]} to {result[2]}; mean F1 (%) {result[5]}, AUC" in "".join(
        page.text
    )
    twelve = chosen[chosen["au"] == "AU12"]["value"].mean()
    assert per_au[2] == f"{100 * twelve:.1f}"
    assert f"{facts.published('table5').find_comparison('bp4d', 'f1').ours.avg:.1f}" in result
    assert page.row("LP-Net")[0][1:] == ["77.1", "87.2", "61.0"]  # AU6, AU12, its own mean of 12
    assert page.row("train from scratch")[0][1] != result[1]


def test_nothing_is_warned_of_where_all_is_as_in_the_paper(tmp_path, few, monkeypatch):
    """Faces and subjects as the dataset has them; selection by the test part is told all the same."""
    for fold, subjects in facts.protocol("bp4d", "threefold").items():
        counts = {"faces_train": 100_000, "faces_validation": 20_000, "faces_test": 26_847}
        parts.write(tmp_path, "mae-face", fold, subjects, frames=4, **counts)
    found = results.load(tmp_path)
    assert caveats.find_caveats(found) == [] == caveats.describe_selection_bias(found)
    recipe = config.load(Experiment, "ex1")
    page = read(report.write(tmp_path, recipe, found))
    assert page.warned == []
    head = next(row for row in page.rows if row[:1] == ["row"] and "difference" in row)
    difference = float(page.row("MAE-Face")[0][head.index("difference")])
    paper = float(page.row("MAE-Face")[0][head.index("paper")])
    assert paper == 67.4
    assert float(page.row("MAE-Face")[0][head.index("mean")]) - paper == pytest.approx(difference, abs=0.11)


def test_several_benchmarks_stand_side_by_side_as_in_table_5(tmp_path, few):
    for row in ("mae-face", "scratch"):
        parts.write(tmp_path, row, "P1", ["F001", "F002"])
        parts.write(tmp_path, f"{row}-i", "P1", ["SN001", "SN002"], dataset="disfa", task="intensity")
        record = tmp_path / "parts" / f"{row}-i" / "P1-s0" / "part.json"
        record.write_text(record.read_text().replace(f'"row": "{row}-i"', f'"row": "{row}"'))
    rows = (Row(name="mae-face", method="MAE-Face"), Row(name="scratch", method="train from scratch"))
    found = results.load(tmp_path)
    page = read(report.write(tmp_path, Experiment(name="t5", published="table5", rows=rows), found))
    assert ["row", "BP4D F1 (%)", "DISFA ICC(3,1)"] in page.rows
    assert page.row("train from scratch (paper)")[0][1:] == ["50.0", "0.418"]
    means = (
        scores.compute_scores(found).query("row == 'scratch' and au == 'avg'").set_index("metric")["value"]
    )
    ours = [f"{100 * means['f1']:.1f}", f"{means['icc']:.3f}"]
    assert page.row("train from scratch (this run)")[0][1:] == ours


def test_selection_on_the_test_part_is_told(tmp_path):
    parts.write(tmp_path, "a", "P1", ["F001"], selection="test", validation=())
    assert "optimistic" in caveats.describe_selection_bias(results.load(tmp_path))[0]


def test_settings_other_than_the_recipes_are_named():
    packaged = config.load(Experiment, "ex1").model_dump()
    changed = config.load(Experiment, "ex1", ["epochs_factor=0.1", "seeds=[0,1]"]).model_dump()
    forced = {"optim": {"epochs": 2}, "data": {"randaugment": ""}, "run": {"workers": 0}}
    changed["forced"] = {"finetune": forced}
    assert sorted(caveats.find_changes(changed, packaged)) == [
        "epochs_factor 0.1 (recipe: 1.0)",
        "finetune.data.randaugment empty (recipe: rand-m9-mstd0.5-inc1)",
        "finetune.optim.epochs 2 (recipe: 20)",
    ]
    assert caveats.find_changes(packaged, packaged) == []


def test_a_paper_row_goes_by_the_name_in_the_table():
    paper = PaperTable("table5", {"scratch": "train from scratch"})
    assert paper.mean("bp4d", "f1", "scratch") == pytest.approx(0.5)
    assert paper.mean("disfa", "icc", "scratch") == pytest.approx(0.418)
    assert np.isnan(paper.mean("bp4d", "f1", "another"))
    assert np.isnan(paper.mean("gft", "f1", "scratch"))
    assert np.isnan(PaperTable("", {}).mean("bp4d", "f1", "scratch"))
    # Fig. 7 has how far means fall, which are no means.
    assert np.isnan(PaperTable("fig7", {}).mean("disfa", "f1", "MAE-Face"))


def test_intensity_has_three_scores_each_with_the_papers_methods(tmp_path, few):
    aus = facts.dataset("disfa").aus_intensity
    for fold in ("P1", "P2"):
        parts.write(
            tmp_path,
            "mae-face",
            fold,
            [f"SN00{k}{fold}" for k in range(3)],
            dataset="disfa",
            task="intensity",
            aus=aus,
        )
    recipe = Experiment(name="ex5", dataset="disfa", task="intensity", published="table4")
    page = read(report.write(tmp_path, recipe, results.load(tmp_path)))
    ours = page.row("MAE-Face (paper)")
    assert [row[-1] for row in ours] == ["0.674", "0.206", "0.153"]
    assert page.row("VGP-AE")[0][1] == "0.48"  # as the paper prints it
    assert [row[1] for row in page.row("MAE-Face") if row[1] in ("ICC(3,1)", "MSE", "MAE")] == [
        "ICC(3,1)",
        "MSE",
        "MAE",
    ]


def test_rows_of_one_method_keep_their_names_and_make_a_curve(tmp_path, few):
    shares = {"all": 1.0, "every-10": 0.1, "every-100": 0.01}
    for row, skill in zip(shares, (3.0, 2.0, 0.5), strict=True):
        parts.write(tmp_path, row, "P1", ["SN001", "SN002"], dataset="disfa", skill=skill)
    rows = tuple(Row(name=name, method="MAE-Face", share=share) for name, share in shares.items())
    recipe = Experiment(name="f7", dataset="disfa", protocol="threefold", published="fig7", rows=rows)
    page = read(report.write(tmp_path, recipe, results.load(tmp_path)))
    assert "Fraction of the training data" in page.text
    head = next(row for row in page.rows if row[:1] == ["row"] and "mean" in row)
    means = {name: float(page.row(name)[0][head.index("mean")]) for name in shares}
    assert means["all"] > means["every-100"]
    assert page.row("KS")[0] == ["KS", "8.6"]
    assert float(page.row("this run")[0][1]) == pytest.approx(
        means["every-10"] - means["every-100"], abs=0.11
    )


def test_across_datasets_the_papers_tables_do_not_count(tmp_path, few):
    parts.write(
        tmp_path, "mae-face", "all", ["SN001", "SN002"], dataset="disfa", trained_on="bp4d", protocol=""
    )
    page = read(report.write(tmp_path, Experiment(name="c", published="table1"), results.load(tmp_path)))
    assert any("BP4D to DISFA" in text for text in page.text)
    assert page.row("MGRR-Net") == [] and page.row("MAE-Face (paper)") == []


def test_gaps_are_named(tmp_path, few):
    folder = parts.write(tmp_path, "a", "P1", ["F001", "F002"], aus=[6, 12])
    table = pd.read_parquet(folder / "faces.parquet").assign(AU06_o=np.float32(np.nan), AU12_o=np.float32(0))
    table.to_parquet(folder / "faces.parquet")
    page = read(report.write(tmp_path, Experiment(name="g"), results.load(tmp_path)))
    reasons = {row[3]: row[4] for row in page.rows if row[:3] == ["bp4d", "a", "P1"] and len(row) == 5}
    assert "no known label" in reasons["AU06"] and "never present" in reasons["AU12"]
    assert page.row("a (this run)")[0][1:] == ["–", "0.0", "0.0"]


def test_every_part_has_a_line(finished, recipe):
    page = read(report.write(finished, recipe, results.load(finished)))
    folds = [row for row in page.rows if row[2:3] in (["P1"], ["P2"])]
    lines = [row for row in folds if row[:2] in (["BP4D", "MAE-Face"], ["BP4D", "train from scratch"])]
    assert [(row[2], row[3], row[8]) for row in lines] == [("P1", "0", "3"), ("P2", "0", "2")] * 2


def balanced(text):
    """Braces that are not escaped close what they open; environments too; rows have their columns."""
    plain = re.sub(r"\\[{}\\%&$#_]", "  ", text)
    depth = 0
    for sign in plain:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    opened = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if what == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    for columns, body in re.findall(
        r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}(.*?)\\end\{tabular\}", text, re.S
    ):
        rows = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert rows
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1, row


def test_latex_is_balanced_and_its_rows_have_their_columns(finished, recipe):
    report.write(finished, recipe, results.load(finished))
    text = (finished / "report.tex").read_text()
    balanced(text)
    assert text.count("$") % 2 == 0 and text.count(r"\begin{tabular}") > 6
    assert "JÂA-Net" in text and r"\textbf{MAE-Face (this run)}" in text


def test_no_sign_of_a_name_is_latex():
    made = Document(NASTY, [Section(NASTY, [NASTY], [nasty()])], [NASTY], [NASTY], NASTY)
    text = latex.render(made)
    balanced(text)
    body = text.split(r"\begin{document}")[1]
    for sign in "%&#_":
        assert not re.search(rf"(?<!\\){sign}", re.sub(r" & | \\\\", "", body)), sign
    assert r"\textless{}i\textgreater{}" in body and "-{}-x" in body and "U+4E2D" in body
    assert not any(ord(sign) > 0x17F for sign in body)


def nasty():
    frame = pd.DataFrame({NASTY: [NASTY, "[1]"], "n": [1.23456, float("nan")]})
    return Table(frame, NASTY, 2, frozenset({1}))


def test_a_row_that_begins_with_a_bracket_is_no_distance():
    lines = latex.tabular(Table(pd.DataFrame({"a": ["x", "[1]"], "b": [1, 2]}))).splitlines()
    assert r"{}[1] & 2 \\" in lines


def test_long_tables_go_on_in_another():
    frame = pd.DataFrame({"a": range(latex.LONG + 5)})
    made = Document("t", [Section("s", tables=[Table(frame, "c")])])
    text = latex.render(made)
    assert text.count(r"\begin{tabular}") == 2 and "c (continued)" in text
    assert all(f"\n{k} " in text for k in frame["a"])


def test_markdown_tables_have_their_columns_and_no_markup_of_names():
    made = Document("t", [Section("s", [NASTY], [nasty()])], warnings=["w"])
    lines = markdown.render(made).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert rows[1] == "| --- | ---: |" and rows[3].startswith(r"| **\[1\]** | **–** |")
    assert "> **w**" in lines and not any("<i>" in line for line in lines)


def test_strong_rows_and_warnings_are_seen_on_the_page():
    made = Document("t", [Section("s", tables=[nasty()])], warnings=["be <warned>"])
    text = html.render(made)
    assert text.count('<tr class="strong">') == 1
    assert '<div class="warning" role="note"><p>be &lt;warned&gt;</p></div>' in text


def test_ours_are_bars_and_methods_are_dots():
    """More methods take no more room, and the picture shows what it is given."""
    names = ["AU01", "AU12", "avg"]
    ours = pd.DataFrame({"a": [50.0, np.nan, 60.0], "b": [40.0, 50.0, 45.0]}, index=names)
    methods = pd.DataFrame({f"m{k}": [40.0 + k, 50.0, 55.0] for k in range(16)}, index=names)
    wide = charts.against_methods(ours, methods, "F1 (%)", ours - 5, ours + 5, "m3")
    bare = charts.against_methods(ours, methods[[]], "F1 (%)")
    assert abs(wide.width - bare.width) < 40
    assert (np.asarray(wide) < 60).all(-1).sum() > (np.asarray(bare) < 60).all(-1).sum()  # the diamonds


# Figures


def save_mae(path, **how):
    torch.manual_seed(0)
    model = MAE(ViT("nano", 16, 8), decoder_width=32, decoder_depth=1, decoder_heads=2, **how)
    weights.save(path, model, weights.describe(model, Preprocessing(image_size=16)))
    return path


def figure(name, **changes):
    return config.load(Figure, name).model_copy(update=changes)


def labels(folder, aus, share, n=200):
    folder.mkdir()
    table = pd.DataFrame(
        {f"{facts.au_name(au)}_o": (np.arange(n) < share * n).astype(np.float32) for au in aus}
    )
    table.iloc[0] = np.nan
    table.to_parquet(folder / "labels.parquet")
    return folder


@pytest.mark.parametrize(("name", "columns"), [("fig1", 3), ("fig5", 7), ("fig8", 4)])
def test_reconstructions_have_a_row_a_face_and_a_column_a_stage(tmp_path, name, columns):
    faces = drawn.faces(tmp_path / "faces", count=5)
    models = {
        "weights": save_mae(tmp_path / "w.safetensors"),
        "L1": save_mae(tmp_path / "l1.safetensors", loss="l1"),
        "L2": save_mae(tmp_path / "l2.safetensors", loss="l2"),
    }
    recipe = figure(name, faces=3)
    path = draw(recipe, {"faces": faces, "bp4d": faces}, models, tmp_path / "out")
    step = 112 + 6
    with Image.open(path) as picture:
        image = np.asarray(picture)
    assert image.shape[:2] == (22 + 3 * step, 6 + columns * step)
    again = draw(recipe, {"faces": faces, "bp4d": faces}, models, tmp_path / "again")
    assert path.read_bytes() == again.read_bytes()
    assert read(path.with_suffix(".html")).fetched == []
    originals = image[22:, -step:-6].reshape(-1, 3)
    assert len(np.unique(originals, axis=0)) > 20


def test_each_person_is_drawn_before_anyone_is_drawn_twice():
    who = ["A"] * 5 + ["B", "C"]
    rows = pd.DataFrame({"id": [f"{k}" for k in range(7)], "subject": who, "clip": "c", "source": "s"})
    assert sorted(reconstructions.choose_faces(rows, 3, 0)["subject"]) == ["A", "B", "C"]
    assert len(reconstructions.choose_faces(rows, 6, 0)) == 6
    other = [tuple(reconstructions.choose_faces(rows, 3, seed)["id"]) for seed in range(6)]
    assert len(set(other)) > 1


def test_weights_that_cannot_paint_are_refused(tmp_path):
    torch.manual_seed(0)
    faces = drawn.faces(tmp_path / "faces", count=2)
    encoder = tmp_path / "encoder.pth"
    torch.save({"model": ViT("tiny", 32, 16).state_dict()}, encoder)
    with pytest.raises(WeightsError, match="has no decoder"):
        draw(figure("fig5"), {"faces": faces}, {"weights": encoder}, tmp_path / "out")
    with pytest.raises(ConfigError, match="--weights L2=FILE"):
        draw(figure("fig8"), {"faces": faces}, {"L1": encoder}, tmp_path / "out")
    with pytest.raises(ConfigError, match="needs the dataset faces"):
        draw(figure("fig5"), {}, {"weights": save_mae(tmp_path / "w.safetensors")}, tmp_path / "out")


def test_classes_are_shares_of_what_is_known(tmp_path):
    data = {
        name: labels(tmp_path / name, facts.dataset(name).aus_occurrence, share)
        for name, share in (("bp4d", 0.25), ("bp4dplus", 0.5), ("disfa", 0.1))
    }
    path = draw(figure("fig4"), data, {}, tmp_path / "out")
    table = pd.read_csv(path.with_suffix(".csv"), index_col="action unit")
    assert table.loc["AU01", "BP4D"] == pytest.approx(100 * 49 / 199)
    assert np.isnan(table.loc["AU09", "BP4D"]) and table.loc["AU09", "DISFA"] == pytest.approx(100 * 19 / 199)
    assert any("NOT the 146,847" in text for text in read(path.with_suffix(".html")).text)
    path = draw(figure("fig3"), data, {}, tmp_path / "out")
    table = pd.read_csv(path.with_suffix(".csv"), index_col="action unit")
    assert table.loc["AU12", "DISFA, F1 of CaFNet"] == 79.0
    assert [name for name in table if name.startswith("BP4D+,")] == ["BP4D+, F1 of SEV-Net"]
    with pytest.raises(DataError, match="maeface prepare --dataset"):
        draw(figure("fig4"), data | {"disfa": tmp_path}, {}, tmp_path / "out")


def test_a_clip_is_that_of_the_subject_in_which_the_labels_vary_most(tmp_path):
    folder = parts.write(tmp_path, "mae-face", "test", ["F001", "F002"], task="intensity", aus=[12])
    table = pd.read_parquet(folder / "faces.parquet")
    flat = table.assign(clip=table["clip"].str.replace("T1", "T2"), AU12_i=np.float32(1))
    images = [
        f"{clip}/{2440 + frame:05d}.jpg" for clip, frame in zip(table["clip"], table["frame"], strict=True)
    ]
    stills = table.assign(source=images, frame=0)
    pd.concat([flat, stills], ignore_index=True).sample(frac=1, random_state=0).to_parquet(
        folder / "faces.parquet"
    )
    found = results.load(tmp_path)
    path = draw(figure("fig6"), {}, {}, tmp_path / "out", found)
    curve = pd.read_csv(path.with_suffix(".csv"))
    mine = stills[(stills["subject"] == "F002") & (stills["part"] == "test")]
    assert list(curve["frame"]) == [2440 + k for k in range(40)]
    np.testing.assert_allclose(curve["labelled"], mine["AU12_i"])
    flat_one = draw(figure("fig6", clip="T2"), {}, {}, tmp_path / "t2", found)
    assert set(pd.read_csv(flat_one.with_suffix(".csv"))["labelled"]) == {1.0}
    with pytest.raises(DataError, match=r"of F009 .*tested are: F001, F002"):
        draw(figure("fig6", subject="F009"), {}, {}, tmp_path / "out", found)


def test_titles_are_short():
    assert [comparison.dataset_title(name) for name in ("bp4d", "bp4dplus", "disfa", "none")] == [
        "BP4D",
        "BP4D+",
        "DISFA",
        "none",
    ]
    assert Path(report.HTML).suffix == ".html"
