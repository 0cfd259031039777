"""CoNLL-U files → sentences with their words and tags, and the records that they make.

The `conllu` package parses each line; the loop around it knows the line's number, so that every complaint
can say where. Syntactic words are the tokens: a multiword range (`3-4  don't`) only repeats the surface of
the words that follow it, and an empty node (`5.1`) is never on the surface, so both are left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from conllu.exceptions import ParseException
from conllu.parser import parse_comment_line, parse_line

from training.data.records import Record
from training.errors import TreebankError
from training.schema import TAGS, answer

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
NEEDED = COLUMNS[:4]  # the rest is counted, not parsed: an odd feature is no reason to refuse a sentence
DOCUMENT_LENGTH = 20  # sentences in a row that stand in for a document where a file names none

Line = tuple[int, str]  # its number, from 1, and its text


@dataclass(frozen=True)
class Sentence:
    name: str  # its sent_id, or else its place
    place: str  # file:line
    document: tuple[str, int]  # the file, and which of its documents
    text: str
    words: list[tuple[str, str]]  # (form, UPOS)

    @property
    def record(self) -> Record:
        """Part-of-speech tagging as text generation."""
        return Record(self.name, self.place, self.document, self.text, answer(self.words))


def read_treebank(paths: Iterable[str | Path]) -> list[Sentence]:
    """Every sentence of the files, in their order."""
    return [sentence for path in paths for sentence in read_file(Path(path))]


def read_file(path: Path) -> list[Sentence]:
    blocks = list(_blocks(path))
    if not blocks:
        raise TreebankError(f"{path}: no sentences: expected blocks of CoNLL-U lines, one for each sentence")
    comments = [_comments(block) for block in blocks]
    starts_document = [any(key.split()[0] == "newdoc" for key in found) for found in comments]
    if not any(starts_document):
        starts_document = [i % DOCUMENT_LENGTH == 0 for i in range(len(blocks))]

    sentences, document = [], 0
    for block, found, starts in zip(blocks, comments, starts_document, strict=True):
        document += starts
        words = _words(path, block)
        place = f"{path.name}:{block[0][0]}"
        sentences.append(
            Sentence(
                name=found.get("sent_id") or place,
                place=place,
                document=(str(path), document),
                # Universal Dependencies demands `# text`; the words stand in where it is missing.
                text=found.get("text") or " ".join(form for form, _ in words),
                words=words,
            )
        )
    return sentences


def _blocks(path: Path) -> Iterator[list[Line]]:
    """Runs of lines between blank ones. Read as bytes, so that a broken one is found on its own line."""
    try:
        raw_lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TreebankError(f"{path}: cannot be read: {error.strerror}") from error
    block: list[Line] = []
    for number, raw in enumerate(raw_lines, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            found = raw[error.start : error.end].hex(" ")
            raise _bad(path, number, f"byte(s) {found} at column {error.start + 1}", "UTF-8") from error
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _comments(block: list[Line]) -> dict[str, str | None]:
    return dict(pair for _, line in block if line.startswith("#") for pair in parse_comment_line(line))


def _words(path: Path, block: list[Line]) -> list[tuple[str, str]]:
    words: list[tuple[str, str]] = []
    for number, line in block:
        if line.startswith("#"):
            continue
        columns = line.count("\t") + 1
        if columns != len(COLUMNS):
            raise _bad(path, number, f"{columns} column(s)", f"{len(COLUMNS)}, separated by tabs: {' '.join(COLUMNS)}")
        try:
            token = parse_line(line, NEEDED)
        except ParseException as error:
            raise _bad(path, number, str(error), "an id like 7, 7-8 or 7.1 in the first column") from error
        if isinstance(token["id"], tuple):  # a multiword range or an empty node
            continue
        if token["id"] != len(words) + 1:
            raise _bad(path, number, f"the id {line.split(chr(9))[0]!r}", f"word {len(words) + 1} of the sentence")
        if not token["form"]:
            raise _bad(path, number, "an empty form", "a word in the second column")
        if token["upos"] not in TAGS:
            raise _bad(path, number, f"the tag {token['upos']!r}", f"a Universal POS tag: {' '.join(TAGS)}")
        words.append((token["form"], token["upos"]))
    if not words:
        raise _bad(path, block[0][0], "a sentence without words", "at least one line with an id like 1")
    return words


def _bad(path: Path, line: int, found: str, expected: str) -> TreebankError:
    return TreebankError(f"{path}:{line}: found {found}; expected {expected}")
