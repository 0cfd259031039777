"""The report on a corpus and its words for what may come, against counts and readings in plain Python."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

import fastmask as fm
from fastmask.corpus.expected import expected, mismatch
from tests.cases import SCHEMAS, SENTENCES, answer
from tests.vocabularies import Sample, spell

pytest.importorskip("jinja2")
from fastmask.corpus.report import write_report

BYTES = fm.Vocabulary([bytes([byte]) for byte in range(256)], 256)


# ---- what may come, in words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("regex", "read", "words"),
    [
        ("[,\\]]", "", '"," or "]"'),
        ("[0-9]+", "", "a digit"),
        ("[0-9]+", "1", "a digit or the end of the text"),
        ("(a|k)?c", "", '"a", "c" or "k"'),
        ('\\{"text": ?"', "", "'{\"text\":'"),
        ("é|è|x", "", '"x", "è" or "é"'),
        ("é|è|x", "x", "the end of the text"),
        ("éa|èb", b"\xc3", "the rest of a character"),
        ("日本語", b"\xe6\x97", "the rest of a character"),
        ("日本語", "日", '"本語"'),
        (r'"[^"\x00-\x1f\x7f-\x9f]*"', '"', "any character but a control character"),
        ("(a{50}|b)", "a", '"' + "a" * 40 + '…"'),
        ("[acegikmoqs]", "", '"a", "c", "e", "g", "i", "k", "m" or 3 more'),
    ],
)
def test_what_is_expected(regex, read, words):
    con = fm.Constraint.from_regex(regex, BYTES)
    text = read if isinstance(read, bytes) else read.encode()
    state = int(con.walk([list(text)])[0, -1]) if text else con.initial_state
    assert expected(con, state) == words


def test_what_is_expected_where_there_is_no_text():
    con = fm.Constraint.from_regex("a", BYTES)
    assert [expected(con, state) for state in (fm.FREE, fm.DONE, fm.DEAD)] == [
        "anything",
        "nothing: the text has ended",
        "nothing: the text is broken already",
    ]
    with pytest.raises(fm.TokenRangeError, match="state 9"):
        expected(con, 9)


def test_a_mismatch_is_told_to_the_byte():
    tokens = [b'{"a', b'{"b', b"{'", "é".encode(), b"\xe6", None, b"", b'{"a": ']
    con = fm.Constraint.from_regex('\\{"a":1}', fm.Vocabulary(tokens, 8))
    assert mismatch(con, 3, 0) is None
    assert mismatch(con, fm.DEAD, 1) is None
    assert mismatch(con, fm.FREE, 1) is None
    assert mismatch(con, 3, 1) == (b'{"', '"b"', "'a\":1}'")
    assert mismatch(con, 3, 2) == (b"{", '"\'"', "'\"a\":1}'")
    assert mismatch(con, 3, 3) == (b"", '"é"', "'{\"a\":1}'")
    assert mismatch(con, 3, 4) == (b"", '"\\xe6"', "'{\"a\":1}'")
    assert mismatch(con, 3, 5) == (b"", "token 5, which is no text", "'{\"a\":1}'")
    assert mismatch(con, 3, 7) == (b'{"a":', '" "', '"1}"')
    assert mismatch(con, 3, 8) == (b"", "the end of the text", "'{\"a\":1}'")
    assert mismatch(con, fm.DONE, 0) == (b"", '"{"', "nothing: the text has ended")


def test_every_error_has_a_mismatch(small):
    con = fm.Constraint.from_schema(SCHEMAS["upos"], small.vocabulary)
    draw = random.Random(0)
    for state in draw.sample(range(con.initial_state, con.num_states), 30):
        allowed = con.allowed(state)
        for token in draw.sample(range(small.vocabulary.size), 60):
            found = mismatch(con, state, token)
            assert (found is None) == bool(allowed[token])
            if found and small.tokens[token]:
                assert small.tokens[token].startswith(found.fitting)
                assert found.fitting != small.tokens[token]


# ---- the page -----------------------------------------------------------------------------------------------------


def corpus(sample: Sample, con: fm.Constraint, count: int = 80, seed: int = 0):
    """Records of every kind: answers whole and closed, cut short, changed in one token, and none at all."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        prompt = [draw.randrange(200) for _ in range(draw.randint(0, 5))]
        text = answer(draw.choice(SENTENCES)).encode()
        ids = spell(sample.tokens, text, draw) + [sample.eos] * draw.randint(0, 1)
        kind = draw.choice(["whole", "cut", "changed", "none"])
        if kind == "cut":
            ids = ids[: draw.randrange(len(ids))]
        elif kind == "changed":
            ids[draw.randrange(len(ids))] = draw.randrange(sample.vocabulary.size)
        elif kind == "none":
            ids = []
        ids = np.array(prompt + ids, np.int32)
        start = len(prompt)
        states = con.walk([ids], start=[start])[0] if len(ids) else np.zeros(0, np.int32)
        if kind == "none":
            states = np.full(len(ids), fm.FREE, np.int32)  # a trigger that never came
        rows.append((ids, states, start, f"record {number}"))
    return rows


def counted(con: fm.Constraint, rows):
    """The report's numbers, one token at a time."""
    verdicts, sizes, positions, forced, tokens = Counter(), [], Counter(), 0, 0
    for ids, states, start, _ in rows:
        tokens += len(ids)
        state, broken = con.initial_state, None
        for position in range(start, len(ids)):
            if broken is None and state != fm.DONE:
                sizes.append(int(con.allowed(state).sum()))
            state = con.advance(state, int(ids[position]))
            if state == fm.DEAD and broken is None:
                broken = position - start
        if states[-1] == fm.FREE:
            verdicts["unconstrained"] += 1
        elif broken is not None:
            verdicts["broken"] += 1
            positions[broken] += 1
        else:
            verdicts["complete" if con.is_final(state) else "cut off"] += 1
    forced = sum(size == 1 for size in sizes)
    return verdicts, sizes, positions, forced, tokens


@pytest.fixture(scope="module")
def con(small) -> fm.Constraint:
    return fm.Constraint.from_schema(SCHEMAS["upos"], small.vocabulary)


@pytest.fixture(scope="module")
def rows(small, con):
    return [row for row in corpus(small, con) if len(row[0])]


class Page(HTMLParser):
    """What a browser would find: elements by name, with attributes and the text in them."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, path) -> None:
        super().__init__()
        self.open: list[dict] = []
        self.elements: list[dict] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **{name: value or "" for name, value in attrs}}
        self.elements.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **attributes):
        return [
            element
            for element in self.elements
            if element["tag"] == tag and all(element.get(name) == value for name, value in attributes.items())
        ]


def test_the_numbers_are_those_of_a_plain_count(con, rows, tmp_path, monkeypatch):
    monkeypatch.setattr("fastmask.corpus.report.page._TOKENS_AT_ONCE", 200)  # several batches
    found = write_report(tmp_path / "report.html", con, iter(rows))
    verdicts, sizes, positions, forced, tokens = counted(con, rows)
    assert min(verdicts[name] for name in ("complete", "cut off", "broken", "unconstrained")) > 3
    assert found.verdicts.tolist() == [verdicts[v] for v in ("complete", "cut off", "broken", "unconstrained", "error")]
    assert (found.records, found.tokens) == (len(rows), tokens)
    assert (found.constrained, found.forced) == (len(sizes), forced)
    assert found.median_allowed == sorted(sizes)[math.ceil(len(sizes) / 2) - 1]
    assert {p: n for p, n in enumerate(found.break_positions.tolist()) if n} == positions
    assert found.breaks.sum() == verdicts["broken"]
    shown = Page(tmp_path / "report.html")
    tiles = [tile["text"] for tile in shown.all("dd")]
    assert tiles[:3] == [f"{number:,}" for number in (len(rows), tokens, len(sizes))]
    assert tiles[3] == f"{forced / len(sizes):.1%}"


def test_histograms_hold_every_token_and_every_broken_record(con, rows, tmp_path):
    from fastmask.corpus.report.charts import break_bars, size_bars

    found = write_report(tmp_path / "report.html", con, rows)
    _, sizes, positions, _, _ = counted(con, rows)
    for shown, values in ((size_bars(found), sizes), (break_bars(found), list(positions.elements()))):
        for bar in shown:
            low, high = (int(part.replace(",", "")) for part in (bar.name.split(" – ") * 2)[:2])
            assert bar.number == sum(low <= value <= max(low, high) for value in values), bar
        assert sum(bar.number for bar in shown) == len(values)
        assert sum(bar.share for bar in shown) == pytest.approx(1)
        assert max(bar.width for bar in shown) == 1


def test_tokens_are_coloured_by_what_was_allowed_before_them(small, con, rows, tmp_path):
    write_report(tmp_path / "report.html", con, rows, drawn=10, drawn_broken=3, tokens_shown=5)
    page = Page(tmp_path / "report.html")
    marks = [mark for mark in page.all("mark") if "data-at" in mark]
    cards = {card["id"]: card["text"] for card in page.all("aside")}
    expected_marks = []
    broken = [row for row in rows if len(row[1]) and row[1][-1] == fm.DEAD]
    drawn = rows[:10] + [row for row in broken[:3] if not any(row is other for other in rows[:10])]
    for ids, states, start, _ in drawn:
        if states[-1] == fm.FREE:
            continue
        for position in range(start, len(ids)):
            state = con.initial_state if position == start else int(states[position - 1])
            if state != fm.DEAD:
                expected_marks.append((str(position), str(ids[position]), f"s{state}"))
    assert [(mark["data-at"], mark["data-id"], mark["aria-describedby"]) for mark in marks] == expected_marks
    for mark in marks:
        count = int(con.allowed(int(mark["aria-describedby"][1:])).sum())
        steps = [step for step, least in enumerate((1, 2, 10, 100, 1_000, 10_000)) if count >= least]
        assert mark["class"] in (f"n{steps[-1]}", "bad")
        assert f"{count:,} token{'s' * (count != 1)} allowed" in cards[mark["aria-describedby"]]
    assert sum(mark["class"] == "bad" for mark in marks) == sum(row[1][-1] == fm.DEAD for row in drawn if len(row[1]))
    assert len(page.all("article")) == len(drawn)


def test_first_errors_are_listed_with_what_was_expected(con, rows, tmp_path):
    write_report(tmp_path / "report.html", con, rows, drawn=0, drawn_broken=4)
    page = Page(tmp_path / "report.html")
    (errors,) = page.all("ol")
    broken = [row for row in rows if len(row[1]) and row[1][-1] == fm.DEAD]
    for ids, states, start, label in broken[:4]:
        position = states.tolist().index(fm.DEAD)
        state = con.initial_state if position == start else int(states[position - 1])
        found = mismatch(con, state, int(ids[position]))
        for part in (label, f"token {position}", found.got, f"expected {found.expected}"):
            assert part in errors["text"]
    assert broken[4][3] not in errors["text"]


def test_nothing_in_a_token_becomes_part_of_the_page(tmp_path):
    hostile = [
        b"</script><script>alert(1)</script>",
        b'"><img src=x onerror=alert(1)>',
        b"<!--",
        b"\xe6\x97",
        b"\x00\x1b",
    ]
    tokens = [*hostile, "\u202eשלום".encode(), b"&amp;{{ 7 * 7 }}", None]
    con = fm.Constraint.from_regex("(?s).*", fm.Vocabulary(tokens, 8))
    ids = np.array([0, 1, 2, 5, 6, 4, 3, 7, 0], np.int32)
    row = (ids, con.walk([ids])[0], 0, "<b>label\u202e</b>")
    write_report(tmp_path / "report.html", con, [row], title="</title><script>")
    source, page = (tmp_path / "report.html").read_text(encoding="utf-8"), Page(tmp_path / "report.html")
    assert len(page.all("script")) == 1
    assert not page.all("img") + page.all("b", id="x")
    assert "\u202e" not in source
    assert "\x00" not in source
    texts = [mark["text"] for mark in page.all("mark") if "data-at" in mark]
    assert texts[:7] == [
        "</script><script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "<!--",
        "\\u202eשלום",
        "&amp;{{ 7 * 7 }}",
        "\\x00\\x1b",
        "\\xe6\\x97",
    ]


def test_the_page_needs_nothing_from_outside(con, rows, tmp_path):
    write_report(tmp_path / "report.html", con, rows)
    page = Page(tmp_path / "report.html")
    linked = [element[name] for element in page.elements for name in ("src", "href") if name in element]
    assert all(link.startswith(("#", "data:")) for link in linked)
    anchors = {element["id"] for element in page.elements if "id" in element}
    assert all(link[1:] in anchors for link in linked if link.startswith("#"))
    assert all(mark["aria-describedby"] in anchors for mark in page.all("mark") if "data-at" in mark)
    assert "http" not in "".join(element["text"] for element in page.all("style") + page.all("script"))


def test_an_empty_corpus_has_a_page_too(con, tmp_path):
    found = write_report(tmp_path / "report.html", con, [])
    assert (found.records, found.constrained, found.forced, found.median_allowed) == (0, 0, 0, 0)
    assert len(Page(tmp_path / "report.html").all("article")) == 0


def test_rows_that_do_not_fit_are_named(con, tmp_path):
    one = np.array([1], np.int32)
    for row, error, words in [
        ((one, one[:0], 0, "odd"), fm.InputError, "'odd'.*one state for each token"),
        ((one, one, 2, "late"), fm.InputError, "'late' starts at 2"),
        ((one, one * con.num_states, 0, "wild"), fm.TokenRangeError, "'wild' has state"),
        ((one * con.vocab_size, one, 0, "wide"), fm.TokenRangeError, "'wide' has token id"),
    ]:
        with pytest.raises(error, match=words):
            write_report(tmp_path / "report.html", con, [(one, one * 3, 0, "sound"), row])
    assert con.allowed(con.initial_state)[ord("{")]
    with pytest.raises(fm.InputError, match=r"'foreign' is broken at token 0.*of another"):
        write_report(tmp_path / "report.html", con, [(one * ord("{"), one * fm.DEAD, 0, "foreign")])


# ---- a browser ----------------------------------------------------------------------------------------------------

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """<script>
addEventListener("error", (event) => document.body.dataset.error = event.message);
const marks = document.querySelectorAll("#r0 mark[tabindex]");
marks[0].focus();
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const state = () => ({ at: document.activeElement.dataset.at,
  cards: [...document.querySelectorAll(".card:not([hidden])")].map((card) => card.id) });
const seen = [state()];
press("ArrowRight"); seen.push(state());
press("End"); seen.push(state());
press("Escape"); seen.push(state());
marks[1].dispatchEvent(new PointerEvent("pointerover", { bubbles: true })); seen.push(state());
document.body.dataset.seen = JSON.stringify(seen);
</script></body>"""


@pytest.mark.skipif(not BROWSER, reason="needs Chromium or Chrome on the PATH")
def test_cards_follow_keyboard_and_pointer_in_a_browser(con, rows, tmp_path):
    whole = [row for row in rows if row[1][-1] == fm.DONE]
    page = tmp_path / "report.html"
    write_report(page, con, whole)
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ)
    assert "CONSOLE" not in ended.stderr
    (tmp_path / "seen.html").write_text(ended.stdout, encoding="utf-8")
    (body,) = Page(tmp_path / "seen.html").all("body")
    assert "data-error" not in body
    ids, states, start, _ = whole[0]
    before = [con.initial_state, *states[start:-1].tolist()]
    assert json.loads(body["data-seen"]) == [
        {"at": str(start), "cards": [f"s{before[0]}"]},
        {"at": str(start + 1), "cards": [f"s{before[1]}"]},
        {"at": str(len(ids) - 1), "cards": [f"s{before[-1]}"]},
        {"at": str(len(ids) - 1), "cards": []},
        {"at": str(len(ids) - 1), "cards": [f"s{before[1]}"]},
    ]
