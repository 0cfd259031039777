"""One table of cases; every engine is held to all of them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

UPOS = [
    "ADJ",
    "ADP",
    "ADV",
    "AUX",
    "CCONJ",
    "DET",
    "INTJ",
    "NOUN",
    "NUM",
    "PART",
    "PRON",
    "PROPN",
    "PUNCT",
    "SCONJ",
    "SYM",
    "VERB",
    "X",
]


def _annotated_sentence(pos: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of the pydantic model `AnnotatedSentence`, `{"tokens": [{"text": …, "pos": …}, …]}`."""
    token = {
        "properties": {"text": {"title": "Text", "type": "string"}, "pos": {"title": "Pos", "type": "string", **pos}},
        "required": ["text", "pos"],
        "title": "AnnotatedToken",
        "type": "object",
    }
    return {
        "$defs": {"AnnotatedToken": token},
        "properties": {"tokens": {"items": {"$ref": "#/$defs/AnnotatedToken"}, "title": "Tokens", "type": "array"}},
        "required": ["tokens"],
        "title": "AnnotatedSentence",
        "type": "object",
    }


SCHEMAS = {
    "article": _annotated_sentence({}),
    "upos": _annotated_sentence({"enum": UPOS}),
}


class Case(NamedTuple):
    name: str
    regex: str
    python: bool = True
    """Does Python's own parser read it with the same meaning? (Then the derivative oracle can judge it.)"""


REGEXES = [
    Case("empty", ""),
    Case("literal", "yes"),
    Case("choice", "yes|no"),
    Case("common-ends", "(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"),
    Case("long-literal", "the quick brown fox jumps over the lazy dog and then over the quick brown fox again"),
    Case("digits", "[0-9]+"),
    Case("three-digits", "[0-9]{3}"),
    Case("unicode-digits", r"\d{3}", python=False),
    Case("counted", "[a-z]{0,40}"),
    Case("many-options", "a?b?c?d?e?f?g?"),
    Case("words", r"(yes|no|maybe)( (yes|no|maybe)){2}"),
    Case("word-characters", r"\w{1,3};", python=False),
    Case("spaces", r"\s*x\s*;", python=False),
    Case("date", "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"),
    Case("time", "([01][0-9]|2[0-3]):[0-5][0-9]"),
    Case("ipv4", r"((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|[1-9]?[0-9])"),
    Case("uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    Case("colour", "#[0-9a-fA-F]{6}"),
    Case("identifier", "[A-Za-z_][A-Za-z0-9_]*"),
    Case("email", r"[a-z0-9._]+@[a-z]+\.(com|org)"),
    Case("csv", r"([0-9]+,){0,7};"),
    Case("json-string", r'"([^"\\\x00-\x1F\x7F-\x9F]|\\["\\/bfnrt])*"'),
    Case("empty-object", r"[ \t\r\n]*\{[ \t\r\n]*\}"),
    Case("tag", "<[^>]*>"),
    Case("lazy", "a+?b*?c"),
    Case("nested-repeats", "((a|b){2}(c|d)){1,3};"),
    Case("non-ascii-words", "(Grüße|naïve|日本語|🙂)"),
    Case("latin-range", "[à-ÿ]{2}"),
    Case("greek-range", "[α-ω]+!"),
    Case("four-byte-range", "[😀-🙏]{2}"),
    Case("beyond-ascii", r"[^\x00-\x7f]{2}"),
    Case("any-character", r"(.|\n){3}"),
    Case("dot-all", "(?s).{2}", python=False),
    Case("escapes", r"\x41\u00e9\.\*\\"),
    Case("ignore-case", "(?i)(true|false|null)", python=False),
    Case("unicode-category", r"\p{Lu}\p{Ll}{1,3}\.", python=False),
]

# Where outlines-core 0.2.14 departs from "the regex matches the whole text". Held to the derivative oracle alone.
AFFECTED_BY_OUTLINES_MATCH_DELAY = [
    Case("pairs", "(ab)*1?"),
    Case("decimal", r"[0-9]+(\.[0-9]+)?"),
    Case("number", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"),
    Case("hyphenated", "[a-z]+(-[a-z]+)*"),
    Case("last-three", "(a|b)*abb"),
    Case("anything", ".*"),
    Case("no-quote", '[^"]*'),
    Case("arabic-digits", "[0-9٠-٩]{2,4}"),
    Case("accents", "(é|ab)*"),
    Case("chess", "([KQRBN]?[a-h]?x?[a-h][1-8]|O-O(-O)?)(=[QRBN])?[+#]?"),
    Case("url", r"https?://[a-z]+(\.[a-z]+)*(/[a-z]*)?"),
]
"""It drops a byte that leads from a final state to one that is not: its DFA reports a match one byte late."""

READ_AS_FIRST_CHOICE_BY_OUTLINES = [
    Case("prefix-first", "yes|yesterday"),
    Case("empty-first", "(|a|aa)"),
    Case("lazy-to-the-end", "a+?"),
    Case("lazy-option", "a??b??"),
    Case("overlapping-halves", "(a|ab)(c|bcd)"),
]
"""It takes the first alternative that matches, and so refuses longer texts that a later one would match."""

SENTENCES = [
    [("Get", "VERB"), ("well", "ADV"), ("soon", "ADV"), ("!", "PUNCT")],
    [
        ("She", "PRON"),
        ("bought", "VERB"),
        ("3.50", "NUM"),
        ("€", "SYM"),
        ("of", "ADP"),
        ("tea", "NOUN"),
        (".", "PUNCT"),
    ],
    [("naïve", "ADJ"), ("Grüße", "NOUN"), ("from", "ADP"), ("日本", "PROPN"), ("🙂", "SYM")],
]


def answer(sentence: list[tuple[str, str]]) -> str:
    """The JSON text that both schemas accept, written as the article writes it."""
    return json.dumps({"tokens": [{"text": text, "pos": pos} for text, pos in sentence]}, ensure_ascii=False)


TEXTS = [
    *map(answer, SENTENCES),
    "yes no maybe Monday Wednesday the quick brown fox jumps over the lazy dog",
    "2024-02-29 23:59 192.168.0.1 255.255.255.255 -12.5e+10 #ff00AA 0123,456,789;",
    'someone.else@example.org https://example.com/path <b>bold</b> {\n\t"a\\n": [true, False, NULL]\r\n}',
    "Grüße naïve 日本語 🙂😀🙏 αβγω! àÿéè ٠١٢٩ Ǆ e\u0301 Nxd4+ O-O-O e8=Q abababb1 well-being",
]
