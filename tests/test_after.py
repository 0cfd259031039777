"""A constraint behind a text: think freely, then answer. Held to `bytes.find` and to the constraint itself."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Hashable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from tests import oracle
from tests.cases import REGEXES
from tests.compare import agree_on_rows, outlines_vocabulary, same_on_all_states
from tests.test_save import HEADER, resealed

TRIGGERS = ["a", "aa", "aab", "abab", "abacaba", "<<a>", "<answer>", "é", "日日本", "🙂", "\n\n", "\0"]
ANSWERS = [case for case in REGEXES if case.python][::3] + [case for case in REGEXES if case.name == "empty"]


# ---- two oracles -------------------------------------------------------------------------------------------------


class Behind(oracle.Walker):
    """A walker behind a trigger. While thinking, the state is the end of the thought that may begin the trigger."""

    def __init__(self, answer: oracle.Walker, trigger: str) -> None:
        self.answer, self.trigger = answer, trigger.encode()
        self.eos, self.size = answer.eos, answer.size
        self.initial = b""

    def is_final(self, state: Hashable) -> bool:
        return not isinstance(state, bytes) and self.answer.is_final(state)

    def advance(self, state: Hashable, token_id: int) -> Hashable:
        if not isinstance(state, bytes):
            return self.answer.advance(state, token_id)
        if token_id in self.eos or token_id >= len(self.answer._tokens):
            return oracle.DEAD
        thought = state + (self.answer.token(token_id) or b"")
        _, found, behind = thought.partition(self.trigger)
        if found:
            return read_bytes(self.answer, behind)
        return next(thought[i:] for i in range(len(thought) + 1) if self.trigger.startswith(thought[i:]))


def read_bytes(walker: oracle.Walker, text: bytes) -> Hashable:
    state = walker.initial
    for byte in text:
        state = walker._automaton.step(state, byte)
        if state is None:
            return oracle.DEAD
    return state


def read_row(answer: oracle.Walker, trigger: bytes, row: Sequence[int]) -> Hashable:
    """The state after a row by `bytes.find` on all of its bytes; None = still thinking."""
    for end in range(1, len(row) + 1):
        token_id = row[end - 1]
        if token_id in answer.eos or token_id >= len(answer._tokens):
            return oracle.DEAD
        text = b"".join(answer.token(token) or b"" for token in row[:end])
        found = text.find(trigger)
        if found >= 0:
            state = read_bytes(answer, text[found + len(trigger) :])
            for token in row[end:]:
                state = answer.advance(state, token)
            return state
    return None


def make(tokens, eos, size, regex, trigger):
    """The constraint, the same without a trigger, and the answer's oracle."""
    con = fm.Constraint.from_regex(regex, fm.Vocabulary(tokens, eos, size))
    return con.after(trigger), con, oracle.Walker(oracle.Pattern(regex), tokens, eos, size)


@st.composite
def vocabularies(draw, trigger):
    """Pieces of the trigger with something before and behind, special tokens, columns without a token, 1-2 EOS ids."""
    text = trigger.encode()
    piece = st.builds(lambda a, b: text[min(a, b) : max(a, b)], *[st.integers(0, len(text))] * 2)
    around = st.sampled_from([b"", b"", b"a", b"b", b"<", b"yes", b" ", b"\xc3", b"\xff", b"\n", text])
    token = st.one_of(st.none(), st.builds(lambda *parts: b"".join(parts), around, piece, around))
    tokens = draw(st.lists(token, min_size=1, max_size=25)) + [text[i : i + 1] for i in range(len(text))]
    size = len(tokens) + draw(st.integers(0, 3))
    eos = draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=2))
    return tokens, sorted(eos), size


REGEX = "(yes|no|a+b?|é*<)!?"


@given(st.sampled_from(TRIGGERS), st.data())
def test_random_rows_against_bytes_find(trigger, data):
    tokens, eos, size = data.draw(vocabularies(trigger))
    con, inner, answer = make(tokens, eos, size, REGEX, trigger)
    rows = data.draw(st.lists(st.lists(st.integers(0, size - 1), max_size=12), min_size=1, max_size=5))
    partner = {oracle.DONE: fm.DONE, oracle.DEAD: fm.DEAD}  # the oracle's state → ours; it may have two for one of ours
    for row, states in zip(rows, con.walk(rows).tolist(), strict=True):
        for end, state in enumerate([con.initial_state, *states[: len(row)]]):
            expected = read_row(answer, trigger.encode(), row[:end])
            if expected is not None:
                assert partner.setdefault(expected, state) == state
                assert con.is_final(state) == answer.is_final(expected)
            else:
                assert state not in partner.values()
                assert not con.is_final(state)
            if expected != oracle.DEAD:
                following = {t for t in range(size) if read_row(answer, trigger.encode(), [*row[:end], t]) != "dead"}
                assert set(con.allowed_tokens(state).tolist()) == (following or set(eos))
    assert con.num_states == inner.num_states + len(trigger.encode())


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_state_and_token(compared, small, trigger):
    tokens = [*small.tokens, None, b"x" + trigger.encode(), trigger.encode() + b"yes", trigger.encode() * 2]
    for regex in ("(yes|no)+!", "a*", "<<?a?>"):
        con, _, answer = make(tokens, [small.eos], len(tokens) + 2, regex, trigger)
        compared["after"] += same_on_all_states(con, Behind(answer, trigger))


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case.name)
def test_any_answer(compared, small, case):
    con, _, answer = make(small.tokens, [small.eos], len(small.tokens), case.regex, "<<a>")
    compared["after"] += same_on_all_states(con, Behind(answer, "<<a>"))


@given(st.sampled_from(TRIGGERS), st.data())
def test_any_start(trigger, data):
    tokens, eos, size = data.draw(vocabularies(trigger))
    con, _, answer = make(tokens, eos, size, REGEX, trigger)
    rows = data.draw(st.lists(st.lists(st.integers(0, size - 1), max_size=12), min_size=1, max_size=5))
    starts = [data.draw(st.integers(0, len(row))) for row in rows]
    agree_on_rows(con, Behind(answer, trigger), rows, starts, con.walk(rows, start=starts))


# ---- by hand -----------------------------------------------------------------------------------------------------

TOKENS = [
    *(bytes([byte]) for byte in range(256)),
    *(b'>{"', b">\n\n", b"wer", b"<answer>", b"<answer>{", b"<answer>[", b"\xf0\x9f", b"\xff\xfe", b""),
    *(None, None),  # special tokens; the second is EOS
]
SPECIAL, EOS, BEYOND = 265, 266, 267
VOCABULARY = fm.Vocabulary(TOKENS, EOS, size=270)
OBJECT = fm.Constraint.from_regex(r'\{"n":[0-9]\}', VOCABULARY)


def ids(*tokens: bytes) -> list[int]:
    return [TOKENS.index(token) for token in tokens]


def single(text: str) -> list[int]:
    return list(text.encode())


def last(con: fm.Constraint, row: list[int]) -> int:
    return int(con.walk([row])[0, -1]) if row else con.initial_state


def test_a_thought_and_an_answer():
    con = OBJECT.after("<answer>")
    row = single('Well… <ans or <answer>{"n":7}')
    states = con.walk([[*row, EOS]])
    assert states[0, -1] == fm.DONE
    assert con.check([row]).complete.tolist() == [True]
    assert con.check([row[:-1]]).complete.tolist() == [False]
    assert con.initial_state == OBJECT.initial_state == 3


def test_the_first_token_of_the_answer_may_hold_the_end_of_the_trigger():
    con = OBJECT.after("<answer>")
    before = last(con, single("hm <answer"))
    allowed = con.allowed(before)
    assert allowed[ids(b'>{"')].all()
    assert not allowed[ids(b">\n\n")].any()
    assert con.advance(before, ids(b'>{"')[0]) == last(con, single('<answer>{"'))
    thinking = con.allowed(con.initial_state)
    assert thinking[ids(b">\n\n", b"<answer>", b"<answer>{")].all()
    assert not thinking[ids(b"<answer>[")].any()


def test_while_thinking_only_eos_and_absent_ids_may_not_come():
    con = OBJECT.after("<answer>")
    forbidden = np.flatnonzero(~con.allowed(con.initial_state)).tolist()
    assert forbidden == [*ids(b"<answer>["), EOS, BEYOND, BEYOND + 1, BEYOND + 2]
    for token_id in forbidden:
        assert con.advance(con.initial_state, token_id) == fm.DEAD
    assert not con.is_final(con.initial_state)


def test_a_special_token_leaves_a_half_matched_trigger_as_it_is():
    con = OBJECT.after("<answer>")
    half = [*single("<ans"), SPECIAL, *single("wer>")]
    states = con.walk([half])[0]
    assert states[3] == states[4] != con.initial_state
    assert states[-1] == last(con, single("<answer>"))
    assert con.advance(states[-1], SPECIAL) == fm.DEAD
    assert not con.allowed(states[-1])[SPECIAL]


@pytest.mark.parametrize(
    ("trigger", "thought", "answer"),
    [("aab", "aaa", "b!"), ("abab", "abaab", "ab!"), ("aa", "ba", "aaa!"), ("<<a>", "<<<", "a>!")],
)
def test_triggers_that_overlap_themselves(trigger, thought, answer):
    con = fm.Constraint.from_regex("a*!", VOCABULARY).after(trigger)
    assert con.check([single(thought), single(thought + answer)]).complete.tolist() == [False, True]


def test_the_first_occurrence_counts():
    con = fm.Constraint.from_regex("[ab]{2}", VOCABULARY).after("ab")
    assert con.check([single("xabab"), single("xababab")]).first_error.tolist() == [-1, 5]


def test_the_trigger_may_be_cut_inside_a_character():
    con = OBJECT.after("🙂")
    half = last(con, ids(b"\xf0\x9f"))
    assert half == last(con, [0xF0, 0x9F]) != con.initial_state
    assert last(con, [*ids(b"\xf0\x9f"), 0x99, 0x82, *single('{"n":1}'), EOS]) == fm.DONE


def test_one_trigger_behind_another():
    con = OBJECT.after("B").after("A")
    assert con.check([single('BABA{"n":1}'), single('A..B{"n":1}')]).complete.tolist() == [False, True]
    assert con.check([single('B{"n":1}'), single('A{"n":1}')]).complete.tolist() == [False, False]


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case.name)
def test_the_answer_s_states_keep_their_order(small, case):
    """One state for each byte of the trigger comes first; so a state of the constraint is found behind it again."""
    inner = fm.Constraint.from_regex(case.regex, small.vocabulary)
    con = inner.after("<é>")
    every = np.arange(inner.initial_state, inner.num_states)
    assert con.num_states == inner.num_states + len("<é>".encode())
    np.testing.assert_array_equal(con.bitmask(every + len("<é>".encode())), inner.bitmask(every))


# ---- equal, kept and carried ---------------------------------------------------------------------------------------


def test_equal_constraints_stay_equal(small):
    def build(regex, **options):
        return fm.Constraint.from_regex(regex, small.vocabulary, **options).after("</think>")

    con = build("yes|no|nine")
    for other in (build("n(ine|o)|yes"), build("yes|no|nine", builder="outlines"), pickle.loads(pickle.dumps(con))):
        assert (other.fingerprint, other.num_states) == (con.fingerprint, con.num_states)
    assert con.fingerprint != build("yes|no|nine|ten").fingerprint
    assert con.fingerprint != fm.Constraint.from_regex("(?s:.*)</think>(yes|no|nine)", small.vocabulary).fingerprint
    assert "</think>" in repr(con)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_files_bring_back_the_same(small, tmp_path, trigger):
    con = fm.Constraint.from_regex("(yes|no)+!", small.vocabulary).after(trigger)
    con.save(tmp_path / "file")
    copy = fm.Constraint.load(tmp_path / "file", small.vocabulary)
    every = np.arange(con.num_states)
    assert copy.fingerprint == con.fingerprint
    np.testing.assert_array_equal(copy.bitmask(every), con.bitmask(every))
    np.testing.assert_array_equal(copy.is_final(every), con.is_final(every))
    for token in (0, small.eos, 599):
        tokens = np.full(con.num_states, token)
        np.testing.assert_array_equal(copy.advance(every, tokens), con.advance(every, tokens))


def test_files_without_a_trigger_are_what_they_were():
    """The digest was taken before states could be open."""
    vocabulary = fm.Vocabulary([*(bytes([byte]) for byte in range(256)), b"abc", None], 257, size=300)
    con = fm.Constraint.from_regex("(yes|no)+!", vocabulary)
    assert con.fingerprint == "2da275ac37079caca56b58f6d127871fc76705ba9c6b81e839db56e05039066a"


def flags_of(saved: bytes, num_states: int) -> slice:
    """Where the flags stand in the payload: behind the vocabulary's digest, class_of [256], initial [1], 3 heads."""
    begin = 32 + (12 + 256) + (12 + 4) + 12
    return slice(begin, begin + num_states - 3)


def test_damaged_flags_are_found(tmp_path):
    con = OBJECT.after("<a>")
    con.save(tmp_path / "file")
    saved = (tmp_path / "file").read_bytes()
    flags = flags_of(saved, con.num_states)
    assert set(saved[HEADER.size :][flags]) == {0, 1, 2}

    def load_with(value, place):
        def forge(payload):
            payload[flags.start + place] = value
            return bytes(payload)

        (tmp_path / "forged").write_bytes(resealed(saved, forge))
        return fm.Constraint.load(tmp_path / "forged", VOCABULARY)

    for value in (4, 7, 128, 255):
        with pytest.raises(fm.FileFormatError, match="flags that do not exist"):
            load_with(value, place=0)
    for value in (0, 1, 3):  # a forger's own constraint, and one that works
        forged = load_with(value, place=0)
        assert forged.is_final(forged.initial_state) == bool(value & 1)
        assert forged.allowed(forged.initial_state)[SPECIAL] == bool(value & 2)
        assert forged.fingerprint != con.fingerprint


def test_every_thread_count_gives_the_same(small, threads):
    rows = np.random.default_rng(0).integers(0, 600, (200, 100))
    digests = set()
    for count in (1, 2, 8):
        threads(count)
        con = fm.Constraint.from_regex("(yes|no)+!", small.vocabulary).after("ab")
        states = con.walk(rows)
        digests.add(hashlib.sha256(states.tobytes() + con.bitmask(states[:, ::10]).tobytes()).hexdigest())
    assert len(digests) == 1


# ---- bad input -----------------------------------------------------------------------------------------------------


def from_index():
    outlines = pytest.importorskip("outlines_core")
    index = outlines.Index("yes|no", outlines_vocabulary(TOKENS, EOS))
    return fm.Constraint.from_index(index, VOCABULARY)


BAD = {
    "empty": (fm.InputError, "empty text", lambda: OBJECT.after("")),
    "bytes": (fm.InputTypeError, "a str, got b'a'", lambda: OBJECT.after(b"a")),
    "a token id": (fm.InputTypeError, r"a str, got 5; .*fm\.after\(id\)", lambda: OBJECT.after(5)),
    "None": (fm.InputTypeError, "None", lambda: OBJECT.after(None)),
    "lone surrogate": (fm.InputError, "surrogate at character 1", lambda: OBJECT.after("a\ud800")),
    "an index's table": (fm.InputError, "knows no bytes", lambda: from_index().after("<a>")),
    "a text as a start": (fm.InputTypeError, r"con\.after\('<a>'\)", lambda: fm.after("<a>")),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    error, words, call = BAD[name]
    with pytest.raises(error, match=words):
        call()
