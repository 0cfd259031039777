"""The experiments' program: arms over seeds, each evaluated once, under one set of settings."""

from dataclasses import fields

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("conllu")

from tests.training_kit import one_thread, treebank
from training import experiments
from training.errors import TrainingError
from training.learning.losses import Objective
from training.run import read_json


def test_arms_over_seeds(treebank, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiments, "TEACHER_STEPS", 2)
    asked = {
        "treebank": [treebank],
        "arm": ["fine-tuned", "article", "article-told"],
        "steps": 2,
        "samples": 3,
        "max_length": 99,
    }
    experiments.main(tmp_path, seed=[4], **asked)
    models = read_json(tmp_path / "seed-4" / "numbers.json")["models"]
    evaluated = {"teacher", "teacher-clean", "fine-tuned", "article", "article-told"}
    assert {name for name, facts in models.items() if "scores" in facts} == evaluated
    assert models["teacher"]["sloppiness"] == experiments.SLOPPINESS
    assert models["teacher-clean"]["sloppiness"] == 0
    assert models["article"]["start"] == "article-begun"
    assert models["article-told-begun"]["asking"]["prompt"] == models["teacher-told"]["prompt"] == experiments.PROMPT
    assert [models[name]["history"][-1]["step"] for name in ("fine-tuned", "article-begun", "article")] == [2, 1, 1]

    written = (tmp_path / "seed-4" / "numbers.json").read_bytes()
    capsys.readouterr()
    experiments.main(tmp_path, seed=[4], **asked)
    assert capsys.readouterr().out.count("evaluated before") == len(evaluated)
    assert (tmp_path / "seed-4" / "numbers.json").read_bytes() == written
    with pytest.raises(TrainingError, match=r"not .*'steps': 3"):
        experiments.main(tmp_path, **asked | {"steps": 3})


def test_an_arm_that_is_not_there(tmp_path):
    with pytest.raises(TrainingError, match="no arm is called tuned; there are fine-tuned, plain"):
        experiments.main(tmp_path, arm=["tuned"])


@pytest.mark.parametrize("arm", experiments.ARMS.values(), ids=list(experiments.ARMS))
def test_every_arm_is_an_objective_that_can_be(arm):
    options = getattr(arm, "keywords", {})
    Objective(**{key: value for key, value in options.items() if key in {field.name for field in fields(Objective)}})
