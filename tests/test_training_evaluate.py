"""Evaluation: verdicts, masses, tags, copies, intervals and costs, each against its definition."""

import json
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("conllu")

from transformers import DynamicCache

import fastmask as fm
from tests.training_kit import BYTES, EOS, ByteTokenizer, con, examples, finished, one_thread, tiny, treebank
from training import evaluate, generate
from training.data.examples import NO_WORD, Example, collate, encode
from training.evaluation import tagging
from training.evaluation.cost import LiveTensors, cost, peak_memory
from training.evaluation.score import score, score_closely
from training.evaluation.uncertainty import spread, wilson
from training.run import open_run
from training.sampling import answers as sampling
from training.sampling.answers import Answer
from training.schema import TAGS, AnnotatedSentence, answer

__all__ = ["con", "examples", "finished", "one_thread", "treebank"]  # fixtures

TAGGING = fm.Constraint.from_schema(AnnotatedSentence, BYTES)


class Scripted:
    """A model whose likeliest next byte behind each text is that of the first reply which goes on from it."""

    device = torch.device("cpu")

    class config:
        max_position_embeddings = 4096

        def get_text_config():
            return Scripted.config

    def __init__(self, replies):
        self.replies = replies  # whole token sequences

    def eval(self):
        return self

    def __call__(self, input_ids, use_cache):
        logits = torch.zeros(*input_ids.shape, 258)
        for b, row in enumerate(input_ids.tolist()):
            for t in range(len(row)):
                for reply in self.replies:
                    if len(reply) > t + 1 and reply[: t + 1] == row[: t + 1]:
                        logits[b, t, reply[t + 1]] = 9.0
                        break
        return type("Output", (), {"logits": logits})


def written(text, verdict="valid", slip=None):
    return Answer(text.encode(), verdict, slip)


# --- verdicts ------------------------------------------------------------------------------------------------------


def test_where_answers_broke(con):
    answers = [[*b"no", EOS], [*b"neve"], [*b"not", EOS], [*b"y", EOS], [EOS], [*b"x"]]
    found = sampling.judged(answers, con)
    assert [a.verdict for a in found] == ["valid", "cut off", "invalid", "ended early", "ended early", "invalid"]
    assert [a.slip and (a.slip.byte, a.slip.token.decode(), a.slip.got) for a in found] == [
        None, None, (2, "t", '"t"'), (1, "", "the end of the text"), (0, "", "the end of the text"), (0, "x", '"x"'),
    ]  # fmt: skip
    assert [a.kept for a in found] == [b"no", b"neve", b"no", b"y", b"", b""]
    assert found[2].slip.expected == "the end of the text"
    assert found[3].slip.expected == '"es"'


# --- scores --------------------------------------------------------------------------------------------------------


def test_masses_are_those_of_every_position(con, examples):
    model = tiny(seed=4)
    found = score_closely(model, examples, con)
    masses = []
    for example in examples:  # one by one, in float64
        batch = collate([example], con)
        q = model(batch.tokens).logits[batch.predicts].double().softmax(-1)
        masses += (q * ~con.allowed(batch.answer_states)).sum(-1).tolist()
    assert found["invalid_mass"] == pytest.approx(np.mean(masses), rel=1e-5)
    assert found["invalid_mass_median"] == pytest.approx(np.median(masses), rel=1e-5)
    assert found["invalid_mass_p99"] == pytest.approx(np.quantile(masses, 0.99), rel=1e-5)
    assert found.items() >= score(model, examples, con).items()


def test_no_tags_no_figures_of_tags(con, examples):
    assert not [key for key in score_closely(tiny(), examples, con) if "tag" in key]


def test_tags_are_read_on_from_the_first_wrong_choice():
    """Byte by byte: P for N is not yet a tag, and what the model goes on with decides: PROPN once, and PRON."""
    words = [("a", "NOUN"), ("b", "VERB"), ("c", "NOUN"), ("d", "X")]
    first = [("a", "PROPN"), *words[1:]]
    third = [*words[:2], ("c", "PRON"), *words[3:]]
    example, *replies = [
        encode("e", "abcd", answer(each), ByteTokenizer(), BYTES) for each in (words, first, third, words)
    ]
    found = score_closely(Scripted([reply.tokens for reply in replies]), [example], TAGGING)
    assert found["tag_accuracy"] == 0.5
    # NOUN is never hit, PROPN and PRON are never right, VERB and X are both.
    assert found["tag_macro_f1"] == pytest.approx(2 / 5)


def test_a_word_that_never_ends_has_no_tag():
    """A token that spells the end of the word and the tag at once: another choice, and the word goes on."""
    vocab = fm.Vocabulary([*(bytes([i]) for i in range(256)), None, b'","pos":"NOUN"'], EOS)
    con = fm.Constraint.from_schema(AnnotatedSentence, vocab)
    text = answer([("a", "NOUN"), ("b", "VERB")])
    ids = [*text.encode()]
    at = text.index('","pos":"NOUN"')
    ids[at : at + 14] = [257]
    tokens = [*b"ab", EOS, *ids, EOS]
    word = [NO_WORD] * len(tokens)
    word[3 + at] = 0
    for t in range(len(tokens) - len('VERB"}]}') - 1, len(tokens) - len('"}]}') - 1):
        word[t] = 1
    example = Example("e", tokens, 3, word)
    endless = [*tokens[: 3 + at], *b"ly" * 40]
    found = score_closely(Scripted([endless, tokens]), [example], con)
    assert found["tag_accuracy"] == 0.5
    assert found["tag_macro_f1"] == 0.5  # VERB is right, NOUN is missed, and what never came is no tag


def test_a_model_that_is_always_right():
    texts = [[("tea", "NOUN"), ("!", "PUNCT")], [("go", "VERB")]]
    every = [encode(str(i), f"{i}", answer(words), ByteTokenizer(), BYTES) for i, words in enumerate(texts)]
    found = score_closely(Scripted([e.tokens for e in every]), every, TAGGING)
    assert (found["tag_accuracy"], found["tag_macro_f1"]) == (1, 1)


def test_macro_f1_is_its_definition():
    """The harmonic mean of precision and recall in float64, over the classes that occur on either side."""
    rng = random.Random(0)
    for size in (1, 3, 40, 300):
        right, said = (rng.choices(TAGS[: rng.randint(1, 17)], k=size) for _ in range(2))
        scores = []
        for tag in sorted({*right, *said}):
            is_right, is_said = (np.array([t == tag for t in tags]) for tags in (right, said))
            hits = np.float64((is_right & is_said).sum())
            precision = hits / is_said.sum() if is_said.any() else 0.0
            recall = hits / is_right.sum() if is_right.any() else 0.0
            scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
        assert tagging.macro_f1(right, said) == pytest.approx(np.mean(scores), rel=1e-12)
        assert tagging.accuracy(right, said) == np.mean([a == b for a, b in zip(right, said, strict=True)])


# --- copies --------------------------------------------------------------------------------------------------------


def test_words_before_the_break():
    broken = sampling.judged(
        [
            [*b'{"tokens":[{"text":"a","pos":"X"},{"text":"b","pos":NOUN"},{"text":"c","pos":"X"}]}', EOS],
            [*b'{"tokens":[{"text":"a","pos":"X"},{"text":"b', EOS],
            [*'{"tokens":[{"text":"é'.encode()[:-1]],
            [*b"!"],
            [*answer([("a", "X")]).encode(), EOS],
        ],
        TAGGING,
    )
    assert [tagging.read_words(a) for a in broken] == [[("a", "X"), ("b", "")], [("a", "X")], [], [], [("a", "X")]]


def test_copies_are_counted():
    gold = [[("a", "X"), ("b", "VERB"), ("c", "NOUN")], [("d", "NOUN")]]
    answers = [
        written(answer([("a", "X"), ("b", "NOUN"), ("c", "NOUN")])),
        written(answer([("x", "X"), ("d", "NOUN")])),
    ]
    assert tagging.copying(answers, gold) == {
        "exact_copy": 0.5,
        "exact_copy_interval": wilson(0.5, 2),
        "words_copied": 1.0,
    }
    found = tagging.tags_of_copies(answers, gold)
    assert (found["answers"], found["words"]) == (1, 3)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx((1 + 0 + 2 / 3) / 3)  # X, VERB, NOUN
    assert tagging.tags_of_copies(answers[1:], gold[1:]) is None
    cut = [written(answer(words)[:-2], "cut off") for words in gold]
    found = tagging.copying(cut, gold)
    assert (found["exact_copy"], found["words_copied"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("a", "b", "length"), [("", "abc", 0), ("abc", "abc", 3), ("abcd", "bd", 2), ("xaybzc", "abc", 3), ("ab", "ba", 1)]
)
def test_common_length(a, b, length):
    assert tagging.common_length(a, b) == tagging.common_length(b, a) == length


def test_other_tasks_have_no_words():
    assert tagging.read_gold([b'"yes"', b'"no"']) is None
    assert tagging.read_gold([answer([("a", "X")]).encode(), b'{"stars":5}']) is None
    assert tagging.read_gold([answer([]).encode()]) is None
    assert tagging.read_gold([answer([("a", "X")]).encode()]) == [[("a", "X")]]


# --- uncertainty ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (0, 76), (1, 10), (5, 10), (43, 76), (10, 10)])
def test_wilson_bounds_lie_z_standard_errors_away(hits, trials):
    share = hits / trials
    low, high = wilson(share, trials)
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            assert abs(share - bound) == pytest.approx(1.959963985 * np.sqrt(bound * (1 - bound) / trials), rel=1e-6)
    assert wilson(1 - share, trials) == pytest.approx((1 - high, 1 - low))
    assert high > low


def test_spread_over_seeds():
    values = [0.2, 0.5, 0.35]
    assert spread(values).mean == pytest.approx(np.mean(values))
    assert spread(values).deviation == pytest.approx(np.std(values, ddof=1))
    assert spread([0.2, None]).values == (0.2,)
    assert spread([0.2]).deviation is None
    assert spread([None]) is None


# --- costs ---------------------------------------------------------------------------------------------------------


def test_live_tensors_by_hand():
    with LiveTensors() as live:
        a = torch.zeros(1000)
        b = a + 1
        a = None
        c = (b * 2)[:10]  # a view keeps its storage
        assert live.peak == 8000
        b = None
        d = torch.zeros(2000)
    assert live.peak == 12000
    assert (a, b, len(c), len(d)) == (None, None, 10, 2000)


def test_peak_memory_has_weights_and_cache():
    model = tiny().eval()
    ids = torch.zeros(4, 32, dtype=torch.long)
    caches = []

    @torch.inference_mode()
    def run():
        caches.append(model(ids, past_key_values=DynamicCache(config=model.config), use_cache=True).past_key_values)

    found = peak_memory(model, run)
    weights = sum(p.nbytes for p in {p.data_ptr(): p for p in model.parameters()}.values())
    keys_and_values = 2 * 4 * 32 * 32 * 4  # two, of 4 rows of 32 positions, 32 wide, 4 bytes each
    assert found >= weights + keys_and_values + 4 * 32 * 257 * 4  # and the logits
    assert found < weights + 100 * keys_and_values
    assert len(caches) == 1


# --- the program ---------------------------------------------------------------------------------------------------


def test_everything_is_kept(finished):
    models = open_run(finished).numbers()["models"]
    for name, model in models.items():
        assert {"tag_macro_f1", "invalid_mass_median", "invalid_mass_p99"} <= set(model["scores"])
        assert model["scores"]["invalid_mass_median"] <= model["scores"]["invalid_mass_p99"]
        assert set(model["samples"]) == set(model["intervals"]) == set(model["words"]) == set(sampling.WAYS)
        for way, shares in model["samples"].items():
            assert sum(shares.values()) == pytest.approx(1)
            for verdict, share in shares.items():
                low, high = model["intervals"][way][verdict]
                assert low <= share <= high
        assert model["samples"]["constrained, greedy"]["invalid"] == 0
        paid = model["cost"]
        weights = open_run(finished).load(name)
        assert paid["parameters"] == sum(p.numel() for p in weights.parameters())
        assert paid["bytes_on_disk"] > 4 * paid["parameters"]
        assert paid["peak_memory"] > 4 * paid["parameters"]
    assert models["teacher"]["cost"]["parameters"] > models["student"]["cost"]["parameters"]


def test_samples_tell_where_they_broke(finished):
    run = open_run(finished)
    for row in json.loads((finished / "samples-student.json").read_text(encoding="utf-8")):
        assert ("broke" in row) == (row["verdict"] in ("invalid", "ended early"))
        if "broke" in row and "�" not in row["answer"]:
            raw, broke = row["answer"].encode(), row["broke"]
            assert raw[broke["byte"] :].startswith(broke["token"].encode())
            assert (broke["token"] == "") == (row["verdict"] == "ended early")
            # Byte by byte the part before it is a beginning of an answer.
            states = fm.Constraint.from_schema(AnnotatedSentence, BYTES).walk([[*raw[: broke["byte"]]] or [ord("{")]])
            assert (states != fm.DEAD).all()
    sampled = sampling.sample(run, run.load("student"), run.heldout[:2], "free", title="test")
    assert sampled == sampling.sample(run, run.load("student"), run.heldout[:2], "free", title="test")


def test_another_task_is_evaluated_without_words(finished, monkeypatch, tmp_path):
    """The right answers are no tagged sentences: what is about words is absent, the rest is there."""
    run = open_run(finished)
    recorded = {}
    monkeypatch.setattr(type(run), "record", lambda self, name, **facts: recorded.update(facts))
    monkeypatch.setattr(evaluate, "write_json", lambda path, value: None)
    monkeypatch.setattr(evaluate, "read_gold", lambda answers: None)
    evaluate.evaluate(run, "student", run.load("student"), samples=2)
    assert {"scores", "samples", "intervals", "cost"} <= set(recorded)
    assert not {"words", "tags_of_copies"} & set(recorded)


def test_a_borrowed_model_has_no_bytes_on_disk(finished):
    run = open_run(finished)
    assert "bytes_on_disk" not in cost(run, "not-here", run.load("student"))


def test_generate_shows_where_the_free_answer_broke(con):
    broken, early, whole = sampling.judged([[*b"noNE", EOS], [*b"ye", EOS], [*b"never", EOS]], con)
    shown = generate.seen(broken)
    assert shown.plain == "invalid\nnoNE\nexpected the end of the text"
    styles = {shown.plain[span.start : span.end]: span.style for span in shown.spans}
    assert (styles["N"], styles["E"]) == ("bold white on red", "dim")
    assert generate.seen(early).plain == 'ended early\nye⟨end⟩\nexpected "s"'
    assert generate.seen(whole).plain == "valid\nnever"


def test_generate_compares_models(finished, capsys):
    generate.main(finished, ["Ada pours tea."], name=["student", "finetuned"], greedy=True)
    said = capsys.readouterr().out
    assert "free, greedy" in said
    assert [line for line in said.splitlines() if "student" in line and "finetuned" in line] == []
    assert "student" in said
    assert "finetuned" in said
    run = open_run(finished)
    model = run.load("teacher")
    first, again, other = (generate.generate(run, model, ["Ada."], seed=seed) for seed in (1, 1, 2))
    assert first == again != other
