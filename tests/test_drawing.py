"""Drawings of automata: what is drawn leads where the automaton leads, nothing is lost, and Graphviz takes it."""

from __future__ import annotations

import random
import re
import shutil
from itertools import product
from xml.etree import ElementTree

import numpy as np
import pytest

import fastmask as fm
from fastmask.characters import Characters, either, label, quoted, visible, words
from fastmask.drawing import dot, folded, svg
from tests.cases import AFFECTED_BY_OUTLINES_MATCH_DELAY, REGEXES, SCHEMAS

pytest.importorskip("graphviz")
CASES = [case.regex for case in REGEXES + AFFECTED_BY_OUTLINES_MATCH_DELAY]
BYTES = fm.Vocabulary([bytes([byte]) for byte in range(256)], 256)
SAMPLE = sorted(set(map(chr, range(256))) | set("ǄЖ٠日本\ud7ff\ue000\uffff🙂😀\U0010ffff"))


def constraint(regex: str) -> fm.Constraint:
    return fm.Constraint.from_regex(regex, BYTES)


def state_after(con: fm.Constraint, state: int, text: bytes) -> int:
    return int(con.walk([list(text)], states=[state])[0, -1]) if text else state


def holds(ranges, code: int) -> bool:
    return any(first <= code <= last for first, last in ranges)


# ---- characters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regex", CASES)
def test_characters_lead_where_their_bytes_lead(regex):
    con = constraint(regex)
    for state in range(con.initial_state, min(con.num_states, 25)):
        following = con.characters.following(state)
        if any(holds(ranges, 0xDC80 + byte) for ranges in following.values() for byte in range(128)):
            continue  # a state within a character
        for character in SAMPLE:
            ends = [target for target, ranges in following.items() if holds(ranges, ord(character))]
            assert (ends or [fm.DEAD]) == [state_after(con, state, character.encode())], (state, character)


@pytest.mark.parametrize("regex", ["yes", "é|è", "[a-z]*"])
def test_bytes_lead_where_they_lead_where_any_byte_may_come(regex):
    con = constraint(regex).after("<a>é")
    for state, byte in product(range(con.initial_state, con.initial_state + 3), range(256)):
        code = byte if byte < 128 else 0xDC00 + byte
        ends = [target for target, ranges in con.characters.following(state).items() if holds(ranges, code)]
        assert ends == [state_after(con, state, bytes([byte]))]


def test_reading_stops_where_the_kernel_breaks():
    con = constraint("(é|ab)*")
    draw = random.Random(0)
    for _ in range(200):
        text = bytes(draw.choices("éab".encode(), k=6))
        walked = con.walk([list(text)])[0]
        dead = np.flatnonzero(walked == fm.DEAD)
        count, state = con.characters.read(con.initial_state, text)
        assert count == (dead[0] if dead.size else len(text))
        assert state == (walked[count - 1] if count else con.initial_state)


@pytest.mark.parametrize(
    ("regex", "name"),
    [
        ("[a-z0-9_]", "0-9 _ a-z"),
        ('[^"]', 'any but "'),
        (r'[^"\\\x00-\x1F\x7F-\x9F]', 'any but controls " \\'),
        (r"(?s).", "any character"),
        (r"[^\x00-\x7f]", "any character beyond ASCII"),
        (r"[\u{a0}-\u{10ffff}a]", "a U+00A0…"),
        (r"[ab\n ]", "\\n ␣ a b"),
        ("[٠-٩]", "U+0660-U+0669"),
        ("[α-ω]", "α-ω"),
        (r"[acegikmoqs]", "a c e g i k m 3 more"),
    ],
)
def test_labels(regex, name):
    con = constraint(regex)
    (ranges,) = con.characters.following(con.initial_state).values()
    assert label(ranges) == name


def test_words_and_lists():
    (ranges,) = constraint("[0-9A-Za-z -]").characters.following(3).values()
    assert words(ranges) == ["a space", '"-"', "a digit", "a letter A to Z or a to z"]
    assert [either(list(parts)) for parts in ("", "a", "ab", "abc")] == ["", "a", "a or b", "a, b or c"]


def test_nothing_stays_invisible():
    assert visible("a\n\u202e\x80é".encode() + b"\xff") == "a\\n\\u202e\\u0080é\\xff"
    assert all(visible(chr(code)).isprintable() for code in (*range(0x3000), *range(0xD800, 0xE100), 0xE0001))
    assert (quoted("a"), quoted('"')) == ('"a"', "'\"'")


# ---- folding ------------------------------------------------------------------------------------------------------


def texts(parts):
    """The choices that an edge's parts leave, by one character of each range."""
    choices = [[chr(first) for first, _ in part.ranges] + [""] * part.optional for part in parts]
    return ["".join(chosen) for chosen in product(*(choice[:3] for choice in choices[:8]))]


@pytest.mark.parametrize("regex", CASES)
def test_what_is_drawn_is_what_the_automaton_does(regex):
    con = constraint(regex)
    drawn = folded(con, max_nodes=10_000)
    assert not drawn.left_out
    assert next(iter(drawn.states)) == con.initial_state
    for edge in drawn.edges:
        assert {edge.source, edge.target} <= drawn.states.keys()
        if len(edge.parts) > 8:
            continue
        for text in texts(edge.parts):
            assert state_after(con, edge.source, text.encode()) == edge.target, (edge, text)
    assert all(drawn.states[state] == con.is_final(state) for state in drawn.states)


def between_characters(con: fm.Constraint) -> int:
    """States to which whole characters lead."""
    seen = [con.initial_state]
    for state in seen:
        seen += [target for target in con.characters.following(state) if target not in seen]
    return len(seen)


@pytest.mark.parametrize("max_nodes", [1, 2, 5, 20, 60])
@pytest.mark.parametrize("regex", [*CASES[::3], "[a-z]{50}x|" + "(a?[bc]){20}", "|".join(f"{n:x}" for n in range(999))])
def test_every_state_is_drawn_or_counted(regex, max_nodes):
    con = constraint(regex)
    drawn = folded(con, max_nodes)
    counted = len(drawn.states) + sum(edge.within for edge in drawn.edges) + sum(drawn.left_out.values())
    assert counted == between_characters(con)
    assert len(drawn.states) <= max_nodes
    assert {edge.target for edge in drawn.cut} == drawn.left_out.keys() <= drawn.states.keys()


def test_the_article_s_schema_becomes_a_handful_of_states():
    con = fm.Constraint.from_schema(SCHEMAS["article"], BYTES)
    text = dot(con)
    assert len(folded(con).states) <= 12 < 68 < con.num_states
    for labelled in ("tokens", "text", "pos", 'any but controls " \\'):
        assert labelled in text.replace("&quot;", '"')
    assert f"{con.initial_state} -> " in text
    assert text.count("doublecircle") == 1


def test_drawings_are_the_same_every_time():
    con = fm.Constraint.from_schema(SCHEMAS["upos"], BYTES)
    assert dot(con) == dot(fm.Constraint.from_schema(SCHEMAS["upos"], BYTES))
    assert "… " in dot(con, max_nodes=8)
    assert "more states" in dot(con, max_nodes=8)


def test_what_cannot_be_drawn():
    with pytest.raises(fm.InputError, match=r"max_nodes.*at least 1, got 0"):
        folded(constraint("a"), max_nodes=0)
    outlines_core = pytest.importorskip("outlines_core")
    index = outlines_core.Index("a", outlines_core.Vocabulary(1, {b"a": [0]}))
    with pytest.raises(fm.InputError, match="knows no bytes"):
        dot(fm.Constraint.from_index(index, fm.Vocabulary([b"a", None], 1)))


# ---- Graphviz -----------------------------------------------------------------------------------------------------


def test_without_graphviz_the_message_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fm.MissingProgramError, match=r"install graphviz.*DOT"):
        svg(constraint("a"))


needs_dot = pytest.mark.skipif(not shutil.which("dot"), reason="needs Graphviz's program dot on the PATH")


@needs_dot
@pytest.mark.parametrize("regex", [*CASES, '<b>&\n"\\\\x">é日本|]]>|\\[x\\]{3}|\x00\u202e', "[0-9]+]|]"])
def test_graphviz_reads_every_drawing(regex):
    con = constraint(regex)
    drawing = ElementTree.fromstring(svg(con, max_nodes=15))
    nodes = {title.text for group in drawing.findall(".//{*}g") if group.get("class") == "node" for title in group[:1]}
    named = {name for name in nodes if re.fullmatch(r"\d+", name)}
    assert named == {str(state) for state in folded(con, max_nodes=15).states}


@needs_dot
def test_graphviz_draws_the_text_of_an_edge():
    drawing = ElementTree.fromstring(svg(constraint('<a href="]">&amp;')))
    assert '<a␣href="]">&amp;' in {text.text for text in drawing.findall(".//{*}text")}


def test_characters_of_an_automaton_of_any_bytes():
    """A byte that begins a character in one state and stands alone in another."""
    from fastmask import _core

    of_bytes = _core.Automaton.from_transitions(
        *(np.array(a, t) for a, t in (([0, 0, 1], "i4"), ([0xC3, 0x61, 0xFF], "u1"), ([1, 2, 2], "i4"))),
        3, 0, np.array([2], "i4"),
    )  # fmt: skip
    following = Characters(of_bytes).following(3)
    assert sorted(map(label, following.values())) == ["\\xc3", "a"]
