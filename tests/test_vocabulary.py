"""The bytes of every token, against what the tokenizers themselves say."""

from __future__ import annotations

from copy import deepcopy

import pytest

import fastmask as fm
from tests.cases import TEXTS
from tests.vocabularies import REAL_TOKENIZERS, SHARED, real

ODD_TEXTS = [
    *TEXTS,
    "",
    " ",
    "  two  spaces  and\ttabs\r\n\n\n",
    "\x00\x01\x7f\u0080\u00a0\u00ad",
    "👩‍👩‍👧‍👦🇩🇪🏴‍☠️ e\u0301 ﬁ Ⅻ ½",
    "한국어 العربية עברית हिन्दी ไทย ᚠᚢᚦ 𐍈𝔘𝕏",
    "\ufeff\ufffd\uffff\U0010ffff",
    "<0x41> Ġ <|not special|>",
]


def joined(vocabulary, ids):
    return b"".join(vocabulary.tokens[token_id] for token_id in ids)


def test_bytes_of_every_token(sample):
    """`sample.tokens` was worked out by other means: see tests/vocabularies.py."""
    assert sample.vocabulary.tokens == sample.tokens
    assert sample.vocabulary.size == len(sample.tokens) == len(sample.vocabulary)
    assert sample.vocabulary.eos_token_ids == (sample.eos,)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_text_s_tokens_spell_it(tokenized, text):
    """Behind an anchor, because SentencePiece puts a space before the first word."""

    def spelled(text):
        return joined(tokenized.vocabulary, tokenized.tokenizer(text, add_special_tokens=False)["input_ids"])

    assert spelled("a") in (b"a", b" a")
    assert spelled("a" + text) == spelled("a") + text.encode()


@pytest.mark.parametrize("name", ["gpt2", "llama3"])
def test_partial_utf8_is_kept(name):
    """Tokens that decoding to text would turn into U+FFFD."""
    tokens = real(name).vocabulary.tokens
    partial = [token for token in tokens if token is not None and not _is_utf8(token)]
    assert len(partial) > 300
    assert "é".encode()[1:] in partial


def test_sentencepiece_bytes_are_kept():
    tokens = real("llama2").vocabulary.tokens
    assert tokens[3:259] == [bytes([byte]) for byte in range(256)]
    assert sum(token == b"A" for token in tokens) == 2, "<0x41> and A"


def _is_utf8(token):
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("name", REAL_TOKENIZERS)
def test_a_plain_tokenizers_tokenizer(name):
    """`tokenizers.Tokenizer` without transformers around it: it knows its special tokens, not which one is EOS."""
    tokenizers = pytest.importorskip("tokenizers")
    wrapped = real(name)
    plain = tokenizers.Tokenizer.from_file(str(SHARED / "tokenizers" / name / "tokenizer.json"))
    assert fm.Vocabulary.from_tokenizer(plain, eos_token_id=wrapped.eos).tokens == wrapped.tokens
    with pytest.raises(fm.VocabularyError, match="EOS"):
        fm.Vocabulary.from_tokenizer(plain)


# ---- around the tokens -------------------------------------------------------------------------------------------


def test_several_ids_end_a_text():
    vocabulary = fm.Vocabulary([b"a", b"b", None, None], eos_token_id=[3, 1, 3])
    assert vocabulary.eos_token_ids == (1, 3)
    assert vocabulary.tokens == [b"a", None, None, None]
    con = fm.Constraint.from_regex("a", vocabulary)
    final = con.advance(con.initial_state, 0)
    assert con.allowed_tokens(final).tolist() == con.allowed_tokens(fm.DONE).tolist() == [1, 3]
    assert [con.advance(final, token) for token in range(4)] == [fm.DEAD, fm.DONE, fm.DEAD, fm.DONE]


def test_logits_wider_than_the_tokens():
    vocabulary = fm.Vocabulary([b"a", b"b"], eos_token_id=1, size=70)
    con = fm.Constraint.from_regex("a*", vocabulary)
    assert con.vocab_size == 70
    assert con.bitmask(con.initial_state).shape == (3,)
    assert con.allowed_tokens(con.initial_state).tolist() == [0, 1]
    assert con.allowed(fm.FREE).all()
    assert con.walk([[0, 69, 0]]).tolist() == [[con.initial_state, fm.DEAD, fm.DEAD]]


def test_eos_ids_directly_behind_the_tokens_widen_the_vocabulary():
    vocabulary = fm.Vocabulary([b"a"], eos_token_id=[2, 1, 0])
    assert (vocabulary.size, vocabulary.tokens) == (3, [None, None, None])
    with pytest.raises(fm.VocabularyError, match="EOS id 3 lies beyond the 1 tokens"):
        fm.Vocabulary([b"a"], eos_token_id=[1, 3])
    assert fm.Vocabulary([b"a"], eos_token_id=[1, 3], size=4).size == 4


def test_size_and_eos_override_the_tokenizer_s(bpe):
    vocabulary = fm.Vocabulary.from_tokenizer(bpe.tokenizer, size=1024, eos_token_id=[bpe.eos, 5])
    assert (vocabulary.size, vocabulary.eos_token_ids) == (1024, (0, 5))
    with pytest.raises(fm.VocabularyError, match=rf"size=10 is too small.* {len(bpe.tokens)} tokens"):
        fm.Vocabulary.from_tokenizer(bpe.tokenizer, size=10)


def test_added_tokens_stand_for_their_text_special_ones_for_none(bpe):
    tokenizer = deepcopy(bpe.tokenizer)
    tokenizer.add_tokens(["<emoji>", " ▁é"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    tokens = fm.Vocabulary.from_tokenizer(tokenizer).tokens
    assert tokens[: len(bpe.tokens)] == bpe.tokens
    ids = tokenizer.convert_tokens_to_ids(["<emoji>", " ▁é", "<|user|>"])
    assert [tokens[i] for i in ids] == [b"<emoji>", " ▁é".encode(), None]


def test_no_eos_is_refused(bpe):
    tokenizer = deepcopy(bpe.tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(fm.VocabularyError, match=r"names no EOS token.*eos_token_id"):
        fm.Vocabulary.from_tokenizer(tokenizer)
    assert fm.Vocabulary.from_tokenizer(tokenizer, eos_token_id=7).eos_token_ids == (7,)


def test_wordpiece_is_refused():
    """It loses spaces and case, so nobody knows which bytes a token stands for."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models

    plain = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    plain.decoder = decoders.WordPiece()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="[UNK]")
    with pytest.raises(fm.VocabularyError, match="neither byte-level BPE nor SentencePiece"):
        fm.Vocabulary.from_tokenizer(tokenizer)


# ---- tokenizers without `tokenizers` ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory):
    """A SentencePiece BPE with byte fallback trained on the test's texts."""
    sentencepiece = pytest.importorskip("sentencepiece")
    prefix = tmp_path_factory.mktemp("sentencepiece") / "model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 10),
        model_prefix=str(prefix),
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return prefix.with_suffix(".model")


def test_a_slow_sentencepiece_tokenizer(sentencepiece_model):
    sentencepiece = pytest.importorskip("sentencepiece")
    transformers = pytest.importorskip("transformers")
    from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

    class Slow(SentencePieceBackend):
        vocab_files_names = {"vocab_file": "model"}  # noqa: RUF012

        def __init__(self, vocab_file, **options):
            self.vocab_file = vocab_file
            super().__init__(vocab_file=vocab_file, **options)

    assert not issubclass(Slow, transformers.PreTrainedTokenizerFast)
    tokenizer = Slow(str(sentencepiece_model), unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    model = sentencepiece.SentencePieceProcessor(str(sentencepiece_model))
    vocabulary = fm.Vocabulary.from_tokenizer(tokenizer)
    assert vocabulary.eos_token_ids == (model.eos_id(),)
    assert [vocabulary.tokens[i] for i in (model.unk_id(), model.bos_id(), model.eos_id())] == [None] * 3
    for byte in range(256):
        assert vocabulary.tokens[model.piece_to_id(f"<0x{byte:02X}>")] == bytes([byte])
    for text in TEXTS:
        flat = text.replace("\n", " ").replace("\t", " ") + "ᚠ🜁"
        ids = model.encode(flat)
        assert sum(map(model.is_byte, ids)) >= 7, "characters that the model never saw fall back to bytes"
        assert joined(vocabulary, ids) == b" " + flat.encode()


def test_a_tiktoken_encoding():
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {
        piece: 256 + i for i, piece in enumerate([b"th", b"the", b" t", "é".encode(), b"\xf0\x9f", b"\xf0\x9f\x99"])
    }
    special = {"<|endoftext|>": 270, "<|user|>": 272}  # with gaps before and between
    encoding = tiktoken.Encoding("test", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens=special)
    vocabulary = fm.Vocabulary.from_tokenizer(encoding)
    assert vocabulary.eos_token_ids == (270,)
    assert vocabulary.tokens == [*ranks, *[None] * (273 - len(ranks))]
    for text in ODD_TEXTS:
        assert joined(vocabulary, encoding.encode(text, disallowed_special=())) == text.encode()
