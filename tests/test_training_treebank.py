"""Reading CoNLL-U: what counts as a word, how documents are split, and what each kind of damage is called."""

import pytest

pytest.importorskip("conllu")

from fastmask import FastmaskError
from training.data.records import split_by_document
from training.data.treebank import DOCUMENT_LENGTH, read_treebank
from training.errors import TrainingError, TreebankError

GOOD = """\
# newdoc id = kettle
# sent_id = kettle-1
# text = I don't mind, and Ada neither.
1	I	I	PRON	_	_	_	_	_	_
2-3	don't	_	_	_	_	_	_	_	_
2	do	do	AUX	_	_	_	_	_	_
3	n't	not	PART	_	_	_	_	_	_
4	mind	mind	VERB	_	_	_	_	_	SpaceAfter=No
5	,	,	PUNCT	_	_	_	_	_	_
6	and	and	CCONJ	_	_	_	_	_	_
7	Ada	Ada	PROPN	_	_	_	_	_	_
7.1	minds	mind	VERB	_	_	_	_	_	_
8	neither	neither	ADV	_	_	_	_	_	SpaceAfter=No
9	.	.	PUNCT	_	_	_	_	_	_

1	Éclairs	éclair	NOUN	_	_	_	_	_	_
2	!	!	PUNCT	_	_	_	_	_	_
"""


def word(number=1, form="tea", tag="NOUN"):
    return f"{number}\t{form}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n"


@pytest.fixture
def written(tmp_path):
    def write(content, name="some.conllu"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_words_are_the_syntactic_ones(written):
    first, second = read_treebank([written(GOOD)])
    assert first.name == "kettle-1"
    assert first.text == "I don't mind, and Ada neither."
    assert " ".join(form for form, _ in first.words) == "I do n't mind , and Ada neither ."
    assert [tag for _, tag in first.words][:4] == ["PRON", "AUX", "PART", "VERB"]
    # Without comments: the place stands in for the name, the words for the text.
    assert (second.name, second.text) == ("some.conllu:16", "Éclairs !")
    assert first.document == second.document


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks_change_nothing(written, ending, mark):
    damaged = written(mark + GOOD.replace("\n", ending).encode(), "other.conllu")
    assert [s.words for s in read_treebank([damaged])] == [s.words for s in read_treebank([written(GOOD)])]


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        (word() + "2\tcup\tNOUN\n", 2, "3 column"),
        (word() + word(2).rstrip("\n") + "\t_\n", 2, "11 column"),
        ("# text = tea\n1 tea _ NOUN _ _ _ _ _ _\n", 2, "1 column"),
        (word("one"), 1, "'one' is not a valid ID"),
        (word("3-1"), 1, "'3-1' is not a valid ID"),
        (word("_"), 1, "the id '_'"),
        (word() + word(3), 2, "the id '3'"),
        (word() + word(1), 2, "the id '1'"),
        (word(1, ""), 1, "an empty form"),
        (word(1, "tea", "NN"), 1, "the tag 'NN'"),
        (word(1, "tea", "_"), 1, "the tag '_'"),
        (word() + "\n\n" + word(1, "tea", "noun"), 4, "the tag 'noun'"),
        (word().encode() + b"\n# text = caf\xe9\n" + word().encode(), 3, "e9"),
        ("# sent_id = 1\n\n" + word(), 1, "without words"),
        ("# sent_id = 1\n# text = a b\n1-2\tab\t_\t_\t_\t_\t_\t_\t_\t_\n", 1, "without words"),
    ],
)
def test_damage_is_named_with_its_line(written, content, line, found):
    path = written(content)
    with pytest.raises(TreebankError) as caught:
        read_treebank([path])
    assert str(caught.value).startswith(f"{path}:{line}: found ")
    assert found in str(caught.value)
    assert "expected" in str(caught.value)
    assert isinstance(caught.value, FastmaskError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("content", ["", "\n\n \n"])
def test_a_file_without_sentences(written, content):
    with pytest.raises(TreebankError, match=r"some\.conllu: no sentences"):
        read_treebank([written(content)])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(TreebankError, match=r"nowhere\.conllu: cannot be read"):
        read_treebank([tmp_path / "nowhere.conllu"])


def test_no_document_stands_on_both_sides(written):
    named = written("".join(f"# newdoc id = {d}\n" + (word() + "\n") * 5 for d in range(10)))
    unnamed = written((word() + "\n") * (3 * DOCUMENT_LENGTH), "unnamed.conllu")
    sentences = read_treebank([named, unnamed])
    assert len({s.document for s in sentences}) == 13
    train, heldout = split_by_document(sentences, 0.2, seed=1)
    assert len(train) + len(heldout) == len(sentences)
    assert len(heldout) >= 0.2 * len(sentences)
    assert not {s.document for s in train} & {s.document for s in heldout}
    assert split_by_document(sentences, 0.2, seed=1) == (train, heldout)
    assert split_by_document(sentences, 0.2, seed=2) != (train, heldout)


def test_one_document_cannot_be_split(written):
    with pytest.raises(TrainingError, match="give more documents"):
        split_by_document(read_treebank([written(GOOD)]), 0.2, seed=0)
