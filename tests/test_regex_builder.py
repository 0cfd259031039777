"""Our own regex compiler against three judges: outlines-core's automata, Python's `re`, and the clock.

outlines-core reads a pattern as a search for its first choice, and version 0.2.14 moreover forgets some transitions.
`as_outlines_reads` and `forget_like_outlines` say exactly how; up to that, the automata must be equal.
"""

import itertools
import re
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmask import _core
from fastmask.errors import CompileLimitError, RegexError
from tests.interruption import interrupted_after
from tests.regex_dialect import dialect
from tests.regex_strategies import LOOKS, NARROW, PLAIN, RICH, patterns

outlines_core = pytest.importorskip("outlines_core")

SECONDS, STATES, BYTES = 30.0, 250_000, 2 << 30
BYTE_TOKENS = outlines_core.Vocabulary(256, {bytes([b]): [b] for b in range(256)})
JSON_CHARACTER = r'([^"\\\x00-\x1F\x7F-\x9F]|\\["\\/bfnrt])'


# --- automata as dictionaries ---------------------------------------------------------------------------------


@dataclass
class Automaton:
    initial: int
    final: set[int]
    edges: dict[int, dict[int, int]]  # state → byte → state

    def accepts(self, text: str) -> bool:
        state = self.initial
        for byte in text.encode():
            state = self.edges[state].get(byte)
            if state is None:
                return False
        return state in self.final

    def trimmed(self) -> "Automaton":
        """Without the states from which no match can be reached."""
        sources: dict[int, set[int]] = {}
        for state, row in self.edges.items():
            for target in row.values():
                sources.setdefault(target, set()).add(state)
        live, waiting = set(self.final), list(self.final)
        while waiting:
            for source in sources.get(waiting.pop(), ()):
                if source not in live:
                    live.add(source)
                    waiting.append(source)
        edges = {s: {b: t for b, t in row.items() if t in live} for s, row in self.edges.items() if s in live}
        return Automaton(self.initial, self.final, edges)


def compile_dfa(pattern: str, seconds: float, states: int, size: int, first_choice: bool = False):
    """The minimal automaton as arrays: class of each byte, initial state, final states, [states, classes] targets."""
    automaton = _core.Automaton.from_regex(pattern.encode(), seconds, states, size, first_choice)
    class_of, initial, is_final, following = automaton.to_arrays()
    return class_of, int(initial[0]), is_final, following.reshape(len(is_final), -1)


def compiled(pattern: str, *, seconds=SECONDS, states=STATES, size=BYTES, **reading) -> Automaton:
    class_of, initial, is_final, following = compile_dfa(pattern, seconds, states, size, **reading)
    columns = class_of.astype(int)
    edges = {}
    for state in range(len(is_final)):
        row = following[state][columns]
        edges[state] = {int(byte): int(row[byte]) for byte in np.nonzero(row >= 0)[0]}
    return Automaton(initial, {int(s) for s in np.nonzero(is_final)[0]}, edges)


def as_outlines_reads(pattern: str) -> Automaton:
    return compiled(pattern, first_choice=True)


def forget_like_outlines(automaton: Automaton) -> Automaton:
    """outlines-core 0.2.14 drops a transition from a match into what is not yet the next match: `(ab)?` loses ab."""
    edges = {
        s: {b: t for b, t in row.items() if s not in automaton.final or t in automaton.final}
        for s, row in automaton.edges.items()
    }
    return Automaton(automaton.initial, automaton.final, edges)


def by_outlines(pattern: str) -> Automaton:
    index = outlines_core.Index(pattern, BYTE_TOKENS)
    edges = {s: {b: t for b, t in row.items() if b < 256} for s, row in index.get_transitions().items()}
    return Automaton(index.get_initial_state(), set(index.get_final_states()), edges)


def difference(one: Automaton, other: Automaton) -> bytes | None:
    """A shortest text on which the two part; None where their languages are equal."""
    one, other = one.trimmed(), other.trimmed()
    reached_by = {(one.initial, other.initial): b""}
    waiting = deque(reached_by)
    while waiting:
        pair = waiting.popleft()
        mine, theirs = (automaton.edges.get(state, {}) for automaton, state in zip((one, other), pair, strict=False))
        if (pair[0] in one.final) != (pair[1] in other.final):
            return reached_by[pair]
        for byte in mine.keys() | theirs.keys():
            if (byte in mine) != (byte in theirs):
                return reached_by[pair] + bytes([byte])
            following = (mine[byte], theirs[byte])
            if following not in reached_by:
                reached_by[following] = reached_by[pair] + bytes([byte])
                waiting.append(following)
    return None


def assert_as_outlines(pattern: str) -> None:
    try:
        theirs = by_outlines(pattern)
    except ValueError:
        with pytest.raises(RegexError):
            compiled(pattern, first_choice=True)
        return
    if not theirs.final:  # it knows automata without a match; we say that there is none
        with pytest.raises(RegexError, match="can match no text"):
            compiled(pattern)
        return
    assert difference(theirs, forget_like_outlines(as_outlines_reads(pattern))) is None, pattern


# --- one table of the dialect ---------------------------------------------------------------------------------


def test_the_table_is_large_and_says_yes_and_no():
    answers = []
    for pattern in dialect():
        try:
            answers.append(by_outlines(pattern) is not None)
        except ValueError:
            answers.append(False)
    assert len(answers) >= 500
    assert answers.count(True) >= 250
    assert answers.count(False) >= 150


@pytest.mark.parametrize("pattern", dialect(), ids=lambda pattern: ascii(pattern[:40]))
def test_the_dialect_is_that_of_outlines_core(pattern):
    assert_as_outlines(pattern)


# --- generated patterns ---------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(patterns(RICH))
def test_generated_patterns_are_read_as_outlines_core_reads_them(pattern):
    assert_as_outlines(pattern)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["a", "b", r"\n", r"[ab\n]"]), patterns(st.one_of(NARROW, NARROW, LOOKS)))
def test_assertions_hold_where_outlines_core_says(first, rest):
    # The `!`, which nothing else can match, keeps a match from being the beginning of a longer one: there
    # outlines-core's losses depend on the character after the match, and an automaton cannot tell.
    assert_as_outlines(f"{first}{rest}!")


@settings(max_examples=300, deadline=None)
@given(patterns(PLAIN))
def test_generated_patterns_match_the_whole_text_as_python_says(pattern):
    ours, theirs = compiled(pattern), re.compile(pattern)
    for length in range(5):
        for letters in itertools.product("abcd", repeat=length):
            text = "".join(letters)
            assert ours.accepts(text) == (theirs.fullmatch(text) is not None), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("a|ab", ["a", "ab"]),
        ("a*?", ["", "a", "aaa"]),
        ("(a|ab)*", ["ab", "aab", "aba"]),
        (r"[0-9]+(\.[0-9]+)?", ["1", "1.5", "10.25"]),
        ("(ab)*", ["", "ab", "abab"]),
        ("yes|yesterday", ["yes", "yesterday"]),
    ],
)
def test_a_match_may_begin_another_which_outlines_core_denies(pattern, texts):
    ours, theirs = compiled(pattern), by_outlines(pattern)
    assert all(ours.accepts(text) for text in texts)
    assert not all(theirs.accepts(text) for text in texts), "outlines-core has changed: revisit as_outlines_reads"


# --- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "place", "hint"),
    [
        ("a)", "character 1: found `)`", r"write \) for a parenthesis"),
        ("ab(c", "character 2: found `(`", "close it"),
        ("é*{2,1}", "character 2: found `{`", "swap the two"),
        ("a(?=b)", "character 1: found `(`", "no look-around"),
        (r"(a)\1", "character 4: found `1`", "back-references"),
        (r"\p{Nope}", "character 3: found `N`", "Unicode property"),
        ("[z-a]", "character 1: found `z`", "swap its ends"),
        ("[abc", "character 0: found `[`", "close it"),
        ("日本+*+?**{", "end of the pattern", "count"),
        (r"a\b", "character 1: found `\\`", r"(?-u:\b)"),
        ("^a", "where the text may begin", "leave it out"),
        ("a[b&&c]", "can match no text", "empty class"),
    ],
)
def test_a_refusal_says_where_and_what_to_do(pattern, place, hint):
    with pytest.raises(RegexError) as error:
        compiled(pattern)
    assert place in str(error.value)
    assert hint in str(error.value)
    assert isinstance(error.value, ValueError)


# --- budgets --------------------------------------------------------------------------------------------------

HOSTILE = [
    r"[01]*1[01]{20}",
    r"(a{1,1000}){1,1000}",
    r"((a{1,100}){1,100}){1,100}",
    r"a{4294967295}",
    r"(a|){4294967295}",
    r"((a{1000}){1000}){1000}",
    r"\w{1000}",
    r"(?i:\pL{0,9999}x){9}",
    r"(.*a){30}.{30}",
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_hostile_pattern_passes_a_limit_in_good_time(pattern):
    with pytest.raises(CompileLimitError, match=r"reached .*, the limit is .*; raise max_(seconds|states|bytes)"):
        compiled(pattern, seconds=2.0, size=1 << 28)


@pytest.mark.parametrize("pattern", ["(){4294967295}", "((){9999}){9999}", "(a?){2000}", "(a*){1000}", "(x+x+)+y" * 20])
def test_what_only_looks_hostile_compiles(pattern):
    compiled(pattern, seconds=10.0)


@pytest.mark.parametrize(
    ("limits", "figure"),
    [
        ({"states": 100}, "reached 101 states, the limit is 100; raise max_states"),
        ({"seconds": 0.0}, r"reached \d+\.\d+ seconds, the limit is 0.00; raise max_seconds"),
        ({"size": 5000}, r"reached \d+ bytes, the limit is 5000; raise max_bytes"),
    ],
)
def test_each_limit_says_what_was_reached_and_its_own_name(limits, figure):
    with pytest.raises(CompileLimitError, match=figure):
        compiled(f'"{JSON_CHARACTER}{{0,100}}"', **limits)


def test_compiling_can_be_interrupted():
    with interrupted_after(0.2):
        compiled(r"(a{1,1000}){1,1000}")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's peak")
def test_memory_stays_near_its_limit():
    """In a process of its own: a fork would find room in what its parent's heap has freed."""
    program = f"""
from pathlib import Path
from fastmask import _core
from fastmask.errors import CompileLimitError

def kilobytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

before = kilobytes("VmRSS")
try:
    _core.Automaton.from_regex(b"(a{{1,1000}}){{1,1000}}", 60.0, {STATES}, 300 << 20, False)
except CompileLimitError:
    print(kilobytes("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 100 << 10 < int(done.stdout) < 330 << 10


# --- size and speed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [12, 255, 10_000])
def test_bounded_strings_cost_what_they_hold(length):
    pattern = f'"{JSON_CHARACTER}{{0,{length}}}"'
    _, _, is_final, _ = compile_dfa(pattern, SECONDS, STATES, BYTES)
    assert len(is_final) <= 10 * length + 3
    if length < 1000:
        assert compiled(pattern).accepts('"' + "é" * length + '"')
        assert not compiled(pattern).accepts('"' + "é" * (length + 1) + '"')


def test_what_repeats_itself_is_read_once():
    """The shape of a schema with many optional properties, 14 MB of it."""
    properties = [f'"property number {i}": ?"{JSON_CHARACTER}*"' for i in range(600)]
    alternatives = ["".join(f"({p},)?" for p in properties[:i]) + p for i, p in enumerate(properties)]
    pattern = r"\{(" + "|".join(alternatives) + r")?\}"
    assert len(pattern) > 10_000_000
    _, _, is_final, _ = compile_dfa(pattern, SECONDS, STATES, BYTES)
    assert len(is_final) < 50_000


def test_a_long_list_of_words_compiles():
    words = sorted(f"{i * 7919 % 65_536:x} {i}" for i in range(30_000))
    assert compiled("|".join(words)).accepts(words[12_345])


@pytest.mark.parametrize("reading", [{}, {"first_choice": True}])
def test_the_result_is_the_same_every_time(reading):
    pattern = r'\{("a": ?[0-9]+(\.[0-9]+)?|"b": ?(true|false|"\w*"))\}'
    first, *others = (compile_dfa(pattern, SECONDS, STATES, BYTES, **reading) for _ in range(3))
    for other in others:
        assert other[1] == first[1]
        assert all(np.array_equal(a, b) for a, b in zip(other, first, strict=False))
