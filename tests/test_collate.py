"""The collator: padding and labels by hand, in a trainer, and in a loader's workers."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from tests.cases import SCHEMAS, SENTENCES, answer

torch = pytest.importorskip("torch")

import fastmask.torch as fmt  # noqa: E402
from fastmask.corpus import ConstraintCollator, mask_texts  # noqa: E402

A, B, X, EOS = 0, 1, 2, 4
CON = fm.Constraint.from_regex("[ab]{2,5}", fm.Vocabulary([b"a", b"b", b"x", None, None], EOS, size=7))
IGNORED = -100


def by_hand(ids, start, width, pad):
    """A line of each tensor: token t has a label where `logits[t - 1]` predict it by a constraint that it keeps to."""
    rest = width - len(ids)
    free = start is None
    walked = CON.walk([ids], start=fm.after(3) if free else start)[0].tolist()
    right = walked.index(fm.DEAD) if fm.DEAD in walked else len(ids)
    return {
        "input_ids": [*ids, *[pad] * rest],
        "attention_mask": [1] * len(ids) + [0] * rest,
        "labels": [
            token if not free and max(start, 1) <= t < right else IGNORED
            for t, token in enumerate([*ids, *[IGNORED] * rest])
        ],
        "states": [*walked, *[fm.FREE] * rest],
    }


def assert_batch(batch, lines):
    assert batch.keys() == {"input_ids", "attention_mask", "labels", "states"}
    for name, tensor in batch.items():
        assert tensor.tolist() == [line[name] for line in lines], name
        assert tensor.dtype == (torch.int32 if name == "states" else torch.int64)


examples = st.lists(st.sampled_from([A, B, A, B, X, EOS]), max_size=7).flatmap(
    lambda ids: st.tuples(st.just(ids), st.one_of(st.none(), st.integers(0, len(ids))))
)


@given(
    st.lists(examples, min_size=1, max_size=5), st.sampled_from([1, 4, 8]), st.sampled_from([None, X]), st.booleans()
)
def test_batches(rows, multiple, pad, annotated):
    """With states as an annotator leaves them, or without; a start of None: no constrained part."""
    collate = ConstraintCollator(CON, pad, start=fm.after(3), pad_to_multiple_of=multiple)
    given = []
    for ids, start in rows:
        example = {"input_ids": ids, "verdict": "ignored"} | ({} if start is None else {"start": start})
        if annotated:
            index = fm.after(3) if start is None else start
            example |= {"states": CON.walk([ids], start=index)[0].tolist(), "start": len(ids)}
        given.append(example)
    longest = max(len(ids) for ids, _ in rows)
    width = (longest + multiple - 1) // multiple * multiple
    expected = [by_hand(ids, start, width, EOS if pad is None else pad) for ids, start in rows]
    assert_batch(collate(given), expected)


def test_rows_may_be_arrays_and_tensors():
    states = CON.walk([[A, B]])[0]
    forms = [
        ([A, B], states.tolist()),
        (np.array([A, B], np.int32), states),
        (torch.tensor([A, B]), torch.tensor(states)),
    ]
    batch = ConstraintCollator(CON)([{"input_ids": ids, "states": walked} for ids, walked in forms])
    assert_batch(batch, [by_hand([A, B], 0, 2, EOS)] * 3)


def test_the_collator_s_own_start():
    batch = ConstraintCollator(CON, start=fm.after(X))(
        [{"input_ids": [A, X, A]}, {"input_ids": [X]}, {"input_ids": [A]}]
    )
    assert_batch(batch, [by_hand([A, X, A], 2, 3, EOS), by_hand([X], 1, 3, EOS), by_hand([A], None, 3, EOS)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one example"),
        ([{"input_ids": [A]}, {"text": "a", "label": 1}], "example 1 has no input_ids, only text, label: fastmask"),
        ([{}], "only nothing"),
        ([{"input_ids": [A, B], "states": [3]}], "example 0 has 2 input_ids and 1 states"),
        ([{"input_ids": [[A, B]]}], r"one row of ids, got shape \(1, 2\)"),
        ([{"input_ids": [A], "start": 2}], "start 2 of row 0 lies outside 0 … 1"),
        ([{"input_ids": [A]}], "example 0 has neither states nor start"),
    ],
)
def test_bad_examples(given, message):
    with pytest.raises(fm.InputError, match=message):
        ConstraintCollator(CON)(given)


def test_a_vocabulary_is_no_constraint():
    with pytest.raises(fm.InputTypeError, match=r"con must be a fastmask.Constraint, got Vocabulary"):
        ConstraintCollator(CON.vocabulary)


def test_a_bad_multiple():
    with pytest.raises(fm.InputError, match="at least 1, got 0"):
        ConstraintCollator(CON, pad_to_multiple_of=0)


# ---- loaders and trainers -------------------------------------------------------------------------------------------

ROWS = [{"input_ids": [X, EOS, *[A, B] * (row % 3), EOS], "start": 2} for row in range(7)]


def same(batches, others):
    return len(batches) == len(others) and all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(batches, others, strict=True)
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_loader(method):
    collate = ConstraintCollator(CON, pad_to_multiple_of=4)
    expected = [collate(ROWS[begin : begin + 3]) for begin in (0, 3, 6)]
    loader = torch.utils.data.DataLoader(
        ROWS, batch_size=3, collate_fn=collate, num_workers=2, multiprocessing_context=method
    )
    assert same(list(loader), expected)


def test_a_collator_survives_pickling():
    collate = ConstraintCollator(CON, pad_token_id=X, start=fm.after(EOS), pad_to_multiple_of=3)
    again = pickle.loads(pickle.dumps(collate))
    rows = [{"input_ids": row["input_ids"]} for row in ROWS]
    assert same([again(rows)], [collate(rows)])


def tiny_gpt2(transformers, bpe):
    torch.manual_seed(0)
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), bpe.eos)
    config = transformers.GPT2Config(vocab_size=bpe.vocabulary.size, n_embd=32, n_layer=1, n_head=2, **special)
    return transformers.GPT2LMHeadModel(config)


def test_a_trainer_whose_loss_reads_the_states(bpe, tmp_path):
    """One step of a tiny GPT-2, whose mass on disallowed tokens is the one worked out here."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    datasets = pytest.importorskip("datasets")
    con = fm.Constraint.from_schema(SCHEMAS["article"], bpe.vocabulary)
    found = mask_texts([f"x<|endoftext|>{answer(s)}" for s in SENTENCES], bpe.tokenizer, con, fm.after(bpe.eos))
    rows = [
        {"input_ids": ids[:length].tolist(), "states": states[:length].tolist(), "verdict": "complete"}
        for ids, length, states in zip(found.input_ids, found.lengths, found.states, strict=True)
    ]
    losses = []

    class MassTrainer(transformers.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            states = inputs.pop("states")
            outputs = model(**inputs)
            mass = fmt.invalid_mass(outputs.logits, states, con)
            losses.append((mass.detach(), states, inputs["labels"], outputs.logits.detach()))
            loss = outputs.loss + mass.sum() / (states != fm.FREE).sum()
            return (loss, outputs) if return_outputs else loss

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=3, remove_unused_columns=False,
        report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    model = tiny_gpt2(transformers, bpe)
    before = model.transformer.wte.weight.detach().clone()
    trainer = MassTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        data_collator=ConstraintCollator(con),
    )
    trainer.train()
    ((mass, states, labels, logits),) = losses
    assert not torch.equal(model.transformer.wte.weight, before)
    assert states.shape == labels.shape == mass.shape
    disallowed = ~torch.from_numpy(con.allowed(states.numpy()))
    torch.testing.assert_close(mass, (logits.softmax(-1) * disallowed).sum(-1), atol=1e-5, rtol=1e-4)
    # What has a label is the answer and nothing else, whichever order the sampler chose.
    texts = {bpe.tokenizer.decode(row[row != IGNORED]) for row in labels}
    assert texts == {answer(sentence) for sentence in SENTENCES}
    assert all(json.loads(text) for text in texts)


def test_a_trainer_that_drops_the_columns_is_refused(bpe, tmp_path):
    """Trainer drops what the model does not name; the whole text would be constrained, and nobody would know."""
    transformers, datasets = pytest.importorskip("transformers"), pytest.importorskip("datasets")
    pytest.importorskip("accelerate")
    con = fm.Constraint.from_regex("[ab]+", bpe.vocabulary)
    model = tiny_gpt2(transformers, bpe)
    rows = datasets.Dataset.from_list([{"input_ids": [1, 2], "states": [0, 3], "start": 2}])
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True
    )
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=ConstraintCollator(con)
    )
    with pytest.raises(fm.InputError, match=r"neither states nor start.*remove_unused_columns=False"):
        trainer.train()


def test_what_is_no_constraint_and_no_padding():
    with pytest.raises(fm.InputTypeError, match=r"con must be a fastmask\.Constraint, got Vocabulary"):
        ConstraintCollator(CON.vocabulary)
    for outside in (-1, CON.vocab_size):
        with pytest.raises(fm.TokenRangeError, match=f"pad_token_id {outside} lies outside 0 … 6"):
            ConstraintCollator(CON, pad_token_id=outside)
    with pytest.raises(fm.InputTypeError, match="pad_token_id must be an integer"):
        ConstraintCollator(CON, pad_token_id=1.5)
