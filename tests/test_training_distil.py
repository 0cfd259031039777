"""What a step of distillation learns from: right answers, the teacher's samples and the student's own."""

import json
import math
import shutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("conllu")

import fastmask as fm
from tests.training_kit import one_thread, tiny, treebank
from training import distil, label, prepare
from training.data.tokenizer import END
from training.distillation.asking import PLAIN, Asking
from training.distillation.instruction import instruction_of
from training.distillation.terms import distillation_terms
from training.errors import TrainingError
from training.learning.losses import Objective, cross_entropy, distillation
from training.learning.metrics import Metrics
from training.run import open_run
from training.sampling import rollouts
from training.sampling.rollouts import teacher_rollouts


@pytest.fixture(scope="module")
def run(treebank, tmp_path_factory):
    """Its teacher knows no more than that short answers end, so that some of its samples are whole."""
    run = prepare.prepare(tmp_path_factory.mktemp("runs") / "run", treebank=[treebank], max_length=128)
    run.keep("teacher", hasty(run), title="teacher", history=[])
    return run


def hasty(run, seed=2):
    """A model that ends its answer where it may, and mostly closes what is open."""
    model = tiny(**run.tiny_model_settings | {"seed": seed, "context": 512})  # with room for a prompt
    bias = torch.zeros(run.settings.width)
    for token, spelled in enumerate(run.vocab.tokens):
        bias[token] = 6.0 if spelled and set(spelled) & set(b']}"') else 0.0
    bias[run.tokenizer.eos_token_id] = 9.0
    with torch.no_grad():  # in the embedding of positions, which the tied head then sees as a direction of its own
        model.transformer.ln_f.bias.copy_(torch.linalg.lstsq(model.lm_head.weight, bias[:, None]).solution[:, 0])
    return model


def student_of(run):
    return tiny(**run.tiny_model_settings | {"seed": 1}).eval()


def terms_of(run, student, objective, asking=PLAIN):
    return {term.name: term for term in distillation_terms(run, run.load("teacher").eval(), student, objective, asking)}


# --- shares --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({}, {"distillation": 1.0}),
        ({"on_policy_mask": 2.0}, {"distillation": 1.0, "format": 2.0}),
        ({"rollouts": "student"}, {"student's rollouts": 1.0}),
        ({"rollouts": "student", "rollout_share": 0.25}, {"distillation": 0.75, "student's rollouts": 0.25}),
        ({"rollouts": "student", "on_policy_mask": 2.0}, {"student's rollouts and format": 3.0}),
        ({"rollouts": "teacher"}, {"teacher's rollouts": 1.0}),
        ({"rollouts": "teacher", "rollout_share": 0.25}, {"distillation": 0.75, "teacher's rollouts": 0.25}),
        ({"rollouts": "teacher", "on_policy_mask": 2.0}, {"teacher's rollouts": 1.0, "format": 2.0}),
    ],
)
def test_terms_and_their_shares(run, options, shares):
    terms = terms_of(run, student_of(run), Objective(**options))
    assert {name: term.weight for name, term in terms.items()} == shares


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rollouts": "mine"}, "the teacher's or the student's, got 'mine'"),
        ({"rollouts": "student", "rollout_share": 0.0}, "above 0 and at most 1, got 0.0"),
        ({"rollouts": "student", "rollout_share": math.nan}, "above 0 and at most 1, got nan"),
        ({"rollouts": "teacher", "cross_entropy": 0.5}, "right answers alone, and rollouts have taken their place"),
    ],
)
def test_rollouts_that_cannot_be(options, message):
    with pytest.raises(TrainingError, match=message):
        Objective(**options)


def test_labels_are_learnt_on_right_answers_alone(run):
    """On samples the loss is that without cross-entropy; on answers it is the mixture."""
    student, master = student_of(run), run.load("teacher").eval()
    for source in ("teacher", "student"):
        objective = Objective(penalty=3.0, cross_entropy=0.4, rollouts=source, rollout_share=0.5)
        terms = terms_of(run, student, objective)
        batch = next(terms["distillation"].stream)
        pure = distillation(student, master, batch, run.con, Objective(penalty=3.0))
        torch.testing.assert_close(
            terms["distillation"].loss(student, batch), 0.6 * pure + 0.4 * cross_entropy(student, batch)
        )
        term = terms[f"{source}'s rollouts"]
        batch = next(term.stream)
        pure = distillation(student, master, batch, run.con, Objective(penalty=3.0))
        torch.testing.assert_close(term.loss(student, batch), pure)


# --- the student's own samples -------------------------------------------------------------------------------------


def test_own_samples_are_learnt_up_to_their_first_slip(run):
    """By the letter, a sample at a time: the divergence from the constrained teacher and the mass on allowed tokens."""
    student, master = student_of(run), run.load("teacher").eval()
    objective = Objective(penalty=2.0, rollouts="student", rollout_share=0.25, on_policy_mask=0.5)
    term = terms_of(run, student, objective)["student's rollouts and format"]
    batch = next(term.stream)
    found = (term.weight * term.loss(student, batch)).split([len(sample.answer) for sample in batch.examples])
    slips = 0
    for sample, losses in zip(batch.examples, found, strict=True):
        state = run.con.initial_state
        ids = torch.tensor([sample.tokens])
        with torch.no_grad():
            q, p = (model(ids).logits[0].double().softmax(-1) for model in (student, master))
        for i, token in enumerate(sample.answer):
            assert state != fm.DEAD  # no position behind the slip
            allowed = torch.zeros(run.settings.width, dtype=torch.bool)
            allowed[torch.as_tensor(run.con.allowed_tokens(state)).long()] = True
            row = sample.start - 1 + i
            shaped = p[row] * torch.where(allowed, 1.0, math.exp(-2.0))
            shaped = shaped / shaped.sum()
            divergence = (shaped * (shaped.log() - q[row].log())).sum()
            expected = 0.25 * divergence - 0.5 * q[row][allowed].sum().log()
            assert losses[i].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
            state = run.con.advance(state, token)
        slips += state == fm.DEAD
    assert slips == len(batch.examples)  # so early in its life it slips every time, and that position counts


# --- the teacher's samples -----------------------------------------------------------------------------------------


def test_the_teacher_s_samples_are_kept(run, monkeypatch):
    master = run.load("teacher").eval()
    found = teacher_rollouts(run, master)
    prompts = [example.prompt for example in run.train]
    assert found
    assert all(example.prompt in prompts for example in found)
    assert run.con.check([example.answer for example in found]).complete.all()
    assert [example.answer for example in found] != [example.answer for example in run.train]
    (path,) = run.folder.glob("rollouts-*.jsonl")
    written = path.read_text(encoding="utf-8")
    assert len(written.splitlines()) == len(run.records)

    monkeypatch.setattr(label, "continue_prompts", lambda *_, **__: pytest.fail("the teacher was asked again"))
    assert teacher_rollouts(run, run.load("teacher")) == found
    monkeypatch.undo()
    path.write_text(written[: len(written) // 2], encoding="utf-8")  # killed in between
    assert teacher_rollouts(run, master) == found


def test_models_that_cannot_be_asked_are_found_before_the_teacher_is_sampled(run, monkeypatch):
    monkeypatch.setattr("training.distillation.terms.teacher_rollouts", lambda *_: pytest.fail("it was sampled"))
    odd = student_of(run)
    odd.lm_head.register_forward_hook(lambda module, given, made: made * 2)
    with pytest.raises(TrainingError, match="the student's logits are not its output layer's product"):
        terms_of(run, odd, Objective(rollouts="teacher"), Asking(chunked=True))


def test_other_teachers_and_prompts_have_files_of_their_own(run):
    texts, asked = ["Ada pours tea ."], instruction_of(run, "Tag {input}:")
    master = run.load("teacher")
    known = rollouts.rollouts_path(run, master, texts, None)
    assert rollouts.rollouts_path(run, run.load("teacher"), texts, None) == known  # the same weights
    others = [
        rollouts.rollouts_path(run, hasty(run, seed=3), texts, None),
        rollouts.rollouts_path(run, master, ["tea"], None),
        rollouts.rollouts_path(run, master, texts, asked),
    ]
    assert len({known, *others}) == 4
    same = instruction_of(run, "{input}" + END)  # what the student reads, in other words
    assert rollouts.rollouts_path(run, master, texts, same) == known


def test_an_instructed_teacher_answers_what_it_was_asked(run, tmp_path):
    """The same rows as for texts that are the filled prompts themselves."""
    master, asked, texts = run.load("teacher"), instruction_of(run, "Tag {input}:" + END), ["Ada pours tea .", "tea"]
    label.label(run, master, texts, tmp_path / "asked.jsonl", instruction=asked, greedy=True)
    label.label(run, master, [f"Tag {text}:" for text in texts], tmp_path / "plain.jsonl", greedy=True)
    rows = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("asked", "plain")
    }
    assert [row["input"] for row in rows["asked"]] == texts
    assert [row["answer"] for row in rows["asked"]] == [row["answer"] for row in rows["plain"]]
    with pytest.raises(TrainingError, match=r"leaves no room for an answer of .* models read 128: 'tea tea "):
        label.label(run, master, ["tea " * 200], tmp_path / "long.jsonl")


# --- the program ---------------------------------------------------------------------------------------------------


def test_everything_at_once(run):
    """Each option with the others that it works with; a cache that is there is not asked for again."""
    prompt = "As {schema}: {input}"
    for name in ("cached", "again"):
        distil.main(
            run.folder, steps=2, name=name, rollouts="teacher", rollout_share=0.5, ce=0.3, on_policy_mask=0.5,
            prompt=prompt, teacher_cache="cache", top_k=16,
        )  # fmt: skip
    distil.main(
        run.folder, steps=2, name="chunked", rollouts="student", rollout_share=0.5, ce=0.3, on_policy_mask=0.5,
        prompt=prompt, chunked=True,
    )  # fmt: skip
    models = open_run(run.folder).numbers()["models"]
    assert models["cached"]["title"] == (
        "distilled, penalty 10, CE 0.3, teacher's rollouts × 0.5, mask on own samples × 0.5, from 50% of the steps,"
        " instructed teacher, 16 tokens of it kept"
    )
    assert models["cached"]["history"] == models["again"]["history"]
    assert models["chunked"]["asking"]["prompt"] == prompt
    assert Objective.from_json(models["chunked"]["objective"]).rollout_share == 0.5
    assert (run.folder / "cache" / "about.json").exists()
    with pytest.raises(TrainingError, match="all of the divergence is taken on the student's rollouts"):
        distil.main(run.folder, steps=2, name="never", rollouts="student", teacher_cache="other")


@pytest.mark.parametrize(
    "options",
    [
        {"rollouts": "student", "rollout_share": 0.5, "on_policy_mask": 0.5, "chunked": True},
        {"rollouts": "teacher", "rollout_share": 0.5, "ce": 0.3, "teacher_cache": "kept", "prompt": "Tag {input}:"},
    ],
    ids=["student", "teacher"],
)
def test_killed_and_begun_again_is_as_if_nothing_had_happened(run, options, tmp_path, monkeypatch):
    """As the loop's own tests have it, here with what distillation draws from."""
    whole, killed = (shutil.copytree(run.folder, tmp_path / name) for name in ("whole", "killed"))
    known = {"steps": 5, "checkpoint_every": 2, "name": "student", **options}
    distil.main(whole, **known)
    write = Metrics.write

    def write_and_die(self, line):
        write(self, line)
        if line["step"] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            distil.main(killed, **known)
    assert (killed / "student.checkpoint" / "2").exists()
    distil.main(killed, **known)
    weights = [(folder / "student" / "model.safetensors").read_bytes() for folder in (whole, killed)]
    assert weights[0] == weights[1]
    models = [open_run(folder).numbers()["models"]["student"] for folder in (whole, killed)]
    assert models[0] == models[1]


def test_the_terms_of_chunks_are_those_of_logits(run):
    student = student_of(run)
    objective = Objective(cross_entropy=0.3, rollouts="student", rollout_share=0.5, on_policy_mask=0.5)
    plain, chunked = (terms_of(run, student, objective, Asking(chunked=chunked)) for chunked in (False, True))
    for name, term in plain.items():
        batch = next(term.stream)
        torch.testing.assert_close(chunked[name].loss(student, batch), term.loss(student, batch), rtol=1e-5, atol=1e-5)
