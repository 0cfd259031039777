"""The report: what is one arm, what stands in the page, and that it opens and tells the truth."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("conllu")
pytest.importorskip("matplotlib")

from training import report
from training.errors import TrainingError
from training.evaluation.uncertainty import wilson
from training.reporting import page
from training.reporting.arms import read_arms, settings_that_differ, steps_before

SETTINGS = {"treebank": ["t.conllu"], "heldout": [], "tokenizer": "own", "width": 1000, "max_length": 512}
SHARES = {"valid": 0.5, "invalid": 0.25, "ended early": 0.125, "cut off": 0.125}


def model(title, valid, *, steps=10, mass=0.01, tags=0.5, **facts):
    free = {"valid": valid, "invalid": 1 - valid, "ended early": 0.0, "cut off": 0.0}
    scores = {"loss": 1.0, "invalid_mass": mass} | ({"tag_accuracy": tags} if tags is not None else {})
    return {
        "title": title,
        "history": [{"step": step, **scores} for step in (1, steps)],
        "scores": scores,
        "samples": {"free": free, "constrained": SHARES},
        "intervals": {"free": {verdict: wilson(share, 8) for verdict, share in free.items()}},
        "samples_each": 8,
        "cost": {"parameters": 369_024, "bytes_on_disk": 1_478_752, "tokens_per_second": 500.0, "peak_memory": 2e9},
    } | facts


def run(folder, seed, models, **settings):
    folder.mkdir(parents=True)
    numbers = {"settings": SETTINGS | {"seed": seed} | settings, "data": {}, "models": models}
    (folder / "numbers.json").write_text(json.dumps(numbers), encoding="utf-8")
    return folder


@pytest.fixture
def seeds(tmp_path):
    """Three seeds of three models, one of which was not evaluated yet, and one that not all have."""
    found = []
    for seed, valid in enumerate((0.2, 0.5, 0.35)):
        models = {
            "teacher": model("teacher", 0.0, mass=0.04),
            "student": model("distilled", valid),
            "later": {"title": "later", "history": []},
        }
        if seed:
            models["tuned"] = model("tuned", 0.9, start="student", steps=5)
        found.append(run(tmp_path / "experiment" / f"seed-{seed}", seed, models))
    return found


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether all was closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text


# --- arms ----------------------------------------------------------------------------------------------------------


def test_seeds_are_one_arm(seeds):
    groups, arms = read_arms(seeds)
    assert [(group.name, group.seeds) for group in groups] == [("", (0, 1, 2))]
    assert [(arm.number, arm.label, len(arm.models)) for arm in arms] == [
        (1, "tuned", 2), (2, "student", 3), (3, "teacher", 3),
    ]  # fmt: skip
    shares = arms[1].figure("samples", "free", "valid")
    assert shares.mean == pytest.approx(0.35)
    assert shares.deviation == pytest.approx(np.std([0.2, 0.5, 0.35], ddof=1))
    assert arms[1].validity("free") == pytest.approx((0.35 - 0.15, 0.35 + 0.15))
    assert arms[0].steps == 15  # ten of the student, and five of its own
    assert arms[0].models[0].curve[0]["step"] == 11
    assert arms[1].figure("words", "free", "exact_copy") is None


def test_a_single_seed_has_wilson_s_interval(seeds):
    _, arms = read_arms(seeds[:1])
    assert arms[0].validity("free") == pytest.approx(wilson(0.2, 8))
    assert arms[0].figure("scores", "loss").deviation is None


def test_other_settings_stand_side_by_side(seeds, tmp_path):
    other = run(tmp_path / "long", 0, {"student": model("distilled", 0.4)}, max_length=1024)
    groups, arms = read_arms([*seeds, other, seeds[0]])
    assert [group.name for group in groups] == ["experiment", "long"]
    assert settings_that_differ(groups) == ["max_length"]
    assert [arm.label for arm in arms] == [
        "tuned · experiment", "student · long", "student · experiment", "teacher · experiment",
    ]  # fmt: skip


def test_a_second_run_with_the_same_seed_is_no_other_seed(seeds, tmp_path):
    again = [run(tmp_path / "again" / f"seed-{seed}", seed, {"student": model("distilled", 0.4)}) for seed in (0, 1)]
    groups, arms = read_arms([*seeds, *again])
    assert [(group.name, group.seeds) for group in groups] == [("experiment", (0, 1, 2)), ("again", (0, 1))]
    assert settings_that_differ(groups) == []
    assert [arm.label for arm in arms if arm.name == "student"] == ["student · again", "student · experiment"]


def test_other_steps_or_another_objective_are_another_arm(tmp_path):
    runs = [
        run(tmp_path / str(i), i, {"student": each})
        for i, each in enumerate([model("distilled", 0.4), model("distilled", 0.4, steps=20), model("other", 0.4)])
    ]
    _, arms = read_arms(runs)
    assert [(arm.title, arm.steps) for arm in arms] == [("distilled", 10), ("distilled", 20), ("other", 10)]


def test_steps_of_a_chain():
    known = {
        "a": {"history": [{"step": 3}]}, "b": {"history": [{"step": 4}], "start": "a"},
        "c": {"history": [], "start": "b"}, "d": {"history": [{"step": 1}], "start": "d"}, "e": {"start": "gpt2"},
    }  # fmt: skip
    assert [steps_before(known, name) for name in known] == [0, 3, 7, 0, 0]


def test_folders_without_anything(tmp_path):
    with pytest.raises(TrainingError, match="holds no run; begin one with"):
        report.report(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="holds no run; begin one with"):
        read_arms([tmp_path])
    empty = run(tmp_path / "empty", 0, {"teacher": {"title": "teacher", "history": []}})
    with pytest.raises(TrainingError, match=r"no evaluated model: python -m training\.evaluate"):
        read_arms([empty])


# --- the page ------------------------------------------------------------------------------------------------------


def test_the_page_of_several_runs(seeds, capsys):
    report.main(seeds)
    out = seeds[0].parent / "report.html"
    assert f"3 arm(s) in {out}" in capsys.readouterr().out.replace("\n", "")
    names = sorted(path.name for path in out.parent.glob("*.png"))
    assert names == [f"report-{name}.png" for name in ("cost", "invalid-mass", "loss", "tag-accuracy", "validity")]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.parent.glob("*.png"))
    lines = out.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("| arm | n | steps | valid, free |")
    assert len(lines) == 2 + 3
    assert any("| 3 |" in line and "| 35.0 ± 15.0 |" in line for line in lines)
    written = out.read_text(encoding="utf-8")
    read = Page(written)
    assert "mean ± standard deviation over up to 3 seeds" in " ".join(read.text.split())
    assert re.search(r"35\.0\s*± 15\.0", read.text)
    # Nothing from outside, every id once, every figure described, every table captioned.
    assert not [value for _, attributes in read.tags for key, value in attributes.items()
                if key in ("src", "href", "xlink:href") and not value.startswith(("#", "data:"))]  # fmt: skip
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    figures = [attributes for tag, attributes in read.tags if tag == "figure"]
    assert len(figures) == len([tag for tag, _ in read.tags if tag == "svg"]) == 5
    assert all({a["aria-labelledby"], a["aria-describedby"]} <= set(ids) for a in figures)
    links = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', written)
    assert {one or other for one, other in links} <= set(ids)
    assert [tag for tag, _ in read.tags].count("table") == [tag for tag, _ in read.tags].count("caption")
    assert not re.search(r"#(1c2126|5d6670|dde2e7|0072b2)", written[written.index("<svg") :])  # light or dark


def test_the_page_of_one_run_and_of_another_task(tmp_path, capsys):
    folder = run(tmp_path / "run", 0, {"<b>": model("<i>bold</i>", 0.5, tags=None)})
    report.main([folder], out=tmp_path / "new" / "page.html", failures=0)
    assert "<i>bold</i>" in capsys.readouterr().out
    read = Page((tmp_path / "new" / "page.html").read_text(encoding="utf-8"))
    said = " ".join(read.text.split())
    assert "tags right" not in said
    assert "Words copied" not in said
    assert "Where free answers broke" not in said
    assert "<i>bold</i>" in said
    assert "369 k" in said
    assert "1.48 MB" in said
    assert "2 GB" in said
    assert re.search(r"50\.0 22–78", said)  # Wilson's, of 4 in 8
    assert (tmp_path / "new" / "page-validity.png").exists()
    assert "| <i>bold</i> | 1.000 | 1.00% | – | 50 / 50 / 0 | 50 / 38 / 12 |" in (folder / "table.md").read_text()


def test_failures_are_counted_over_seeds(seeds):
    long = 'NOUN"},{"text"'
    for folder, times in zip(seeds, (1, 2, 3), strict=True):
        broke = [{"byte": 9, "before": "x" + long, "token": "=", "got": '"="', "expected": '":"'}] * times
        broke += [{"byte": 3, "before": "é\n", "token": "", "got": "the end", "expected": "<"}]
        rows = [{"sentence": "s", "way": "free", "verdict": "invalid", "answer": "", "broke": each} for each in broke]
        rows += [{"sentence": "s", "way": "constrained", "verdict": "cut off", "answer": ""}]
        (folder / "samples-student.json").write_text(json.dumps(rows), encoding="utf-8")
    _, arms = read_arms(seeds)
    (found,) = page.where_broken(arms, 8)
    assert (found.arm.name, found.way, found.broken) == ("student", "free", 9)
    assert found.kinds == [(6, "", "=", '":"'), (3, "", "⟨end⟩", "<")]
    assert found.contexts == [(6, long[-12:], "=", '":"'), (3, "é\\n", "⟨end⟩", "<")]
    assert len(page.where_broken(arms, 1)[0].contexts) == 1


@pytest.mark.parametrize(
    ("masses", "text", "around"),
    [((0.0421,), "4.2", ""), ((0.5, 0.6), "55", "± 7"), ((0.00083, 0.00085), "0.084", "± 0.001"), ((0.0,), "0", "")],
)
def test_masses_have_two_digits(masses, text, around):
    assert page._mass(page.Spread(masses)) == (text, around)
