"""The site: every block of every page does what the page says, links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

import fastmask as fm
from tests import pages, vocabularies

transformers = pytest.importorskip("transformers")
pytest.importorskip("datasets")
pytest.importorskip("typer")

ROOT = pages.ROOT
DOCS = ROOT / "docs"
CHAT = "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}{% endfor %}<assistant>"


def sentencepiece():
    """As Llama's and Gemma's are: a space before every text, bytes where there is no piece."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    control = ["<unk>", "<s>", "</s>"]
    pieces = [*control, *(f"<0x{byte:02X}>" for byte in range(256)), *map(chr, range(0x21, 0x7F)), "▁", "▁{"]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    bpe = Tokenizer(models.BPE(numbers, [("▁", "{")], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bpe.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in control])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


@pytest.fixture
def stand_ins(monkeypatch, bpe):
    """What pages load by name: the test's own tokenizers, and a model that was never trained."""
    torch = pytest.importorskip("torch")

    def tokenizer(name, **options):
        loaded = sentencepiece() if "llama" in name else bpe.tokenizer
        loaded.chat_template = CHAT if "Instruct" in name else None
        loaded.padding_side = options.get("padding_side", "right")
        return loaded

    def model(name, **_):
        torch.manual_seed(0)
        special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), bpe.eos)
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=640, n_embd=32, n_layer=1, n_head=2, **special)
        ).eval()

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", tokenizer)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", model)


@pytest.fixture
def folder(monkeypatch, tmp_path, threads):
    """Where a reader tries things: an empty folder, with the repository's results within reach."""
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for module in ("tickets",):  # what pages wrote and imported
        sys.modules.pop(module, None)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")  # of a Trainer's loaders, without a GPU
@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.usefixtures("stand_ins", "folder")
def test_what_a_page_shows_happens(page):
    pages.run(page)


def test_a_page_that_is_wrong_is_found(tmp_path, monkeypatch):
    pytest.importorskip("torch")  # for the stages' own options
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    for text in (
        "```python\nprint(1)\n```\n```text\n2\n```\n",
        "```python\n1 / 0\n```\n",
        "<!-- not run: a reason -->\n```python\n1 +\n```\n",
        "```console\n$ fastmask check --no-such-option\n```\n",
        "```console\n$ python -m training.distil runs/mine --no-such-option\n```\n",
        "```text\nof nothing\n```\n",
    ):
        (tmp_path / "page.md").write_text(text)
        with pytest.raises((AssertionError, ZeroDivisionError, SyntaxError)):
            pages.run(tmp_path / "page.md")


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_is_overlooked(page):
    """One that is indented, or opens in another way, would not be run."""
    opened = re.findall(r"^[ >]*(?:`{3,}|~{3,}) *\w.*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(opened) == len(pages.blocks(page))


# ---- what stands in sentences and tables ---------------------------------------------------------------------------


def section(page: str, heading: str) -> str:
    """The text behind a heading, up to the next."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.split(r"^#+ ", text.split(f"# {heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_tokens_that_are_no_text_by_themselves():
    tokens = [token for token in vocabularies.real("gpt2").vocabulary.tokens if token is not None]
    broken = sum(token.decode(errors="ignore").encode() != token for token in tokens)
    assert f"{broken} tokens of GPT-2 are not whole UTF-8" in section("concepts/spelling.md", "Tokens are bytes")


STRING, NUMBER, NUMBERS = {"type": "string"}, {"type": "integer"}, {"type": "array", "items": {"type": "integer"}}
OBJECT = {"type": "object", "properties": {"a": STRING}}
SCHEMAS = {
    # Of each keyword in the table, a schema in which it says something.
    "type": STRING,
    "enum": {"enum": ["a", 1]},
    "const": {"const": "a"},
    "anyOf": {"anyOf": [STRING, NUMBER]},
    "oneOf": {"oneOf": [STRING, NUMBER]},
    "$ref": {"$ref": "#/$defs/a", "$defs": {"a": STRING}},
    "properties": OBJECT,
    "required": OBJECT | {"required": ["a"]},
    "additionalProperties": {"type": "object", "additionalProperties": NUMBER},
    "items": NUMBERS,
    "prefixItems": {"type": "array", "prefixItems": [NUMBER]},
    "minItems": NUMBERS | {"minItems": 2},
    "maxItems": NUMBERS | {"maxItems": 2},
    "minLength": STRING | {"minLength": 2},
    "maxLength": STRING | {"maxLength": 2},
    "uuid": STRING | {"format": "uuid"},
    "minimum": NUMBER | {"minimum": 0},
    "maximum": NUMBER | {"maximum": 9},
    "multipleOf": NUMBER | {"multipleOf": 3},
    "patternProperties": {"type": "object", "patternProperties": {"^x": NUMBER}},
    "minProperties": OBJECT | {"minProperties": 1},
    "uniqueItems": NUMBERS | {"uniqueItems": True},
    "contains": {"type": "array", "contains": NUMBER},
    **{form: STRING | {"format": form} for form in ("date", "time", "date-time", "uri", "email")},
}
PATTERN = STRING | {"pattern": "^[a-z]+$"}


def test_the_table_of_keywords_is_true(small):
    enforced, refused = set(), set()
    for row in re.findall(r"^\|(.*)\|(.*)\|$", section("how-to/schema.md", "What is refused"), re.MULTILINE)[2:]:
        for keywords, column in zip((enforced, refused), row, strict=True):
            keywords |= set(re.findall(r"`([^`]+)`", column))
    assert (enforced | refused) - {"format", "pattern"} == set(SCHEMAS)
    for keyword in enforced - {"format", "pattern"}:
        fm.Constraint.from_schema(SCHEMAS[keyword], small.vocabulary)
    fm.Constraint.from_schema(PATTERN, small.vocabulary)
    for schema in [PATTERN | {"maxLength": 2}, *(SCHEMAS[each] for each in refused - {"pattern", *enforced})]:
        with pytest.raises(fm.UnsupportedSchemaError):
            fm.Constraint.from_schema(schema, small.vocabulary)


# ---- the site ------------------------------------------------------------------------------------------------------


def test_the_site_builds(tmp_path):
    """Strict: a page that is left out, or a link or an anchor that leads nowhere, ends it."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    for page in tmp_path.rglob("*.html"):  # nothing that a reader without a network would lack
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]+https?://[^>]+>", page.read_text(encoding="utf-8"))
        assert loaded == [], page.name


def test_links_lead_somewhere_on_a_forge_too():
    """Relative links between files, which is also how README leads to the site's pages."""
    for page in pages.PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


# ---- the drawings --------------------------------------------------------------------------------------------------


def texts(drawing: str, kind: str | None = None) -> list[str]:
    root = ElementTree.fromstring(drawing)
    found = [element for element in root.iter() if element.tag.endswith("}text")]
    return [e.text for e in found if kind is None or kind in e.get("class", "").split()]


def test_the_drawn_states_are_those_of_the_page():
    vocabulary = fm.Vocabulary([b"Sure", b": ", b"ye", b"s", b"no", b"yes", None], eos_token_id=6)
    con = fm.Constraint.from_choices(["yes", "no"], vocabulary)
    states = con.walk([[0, 1, 2, 3, 6]], start=2)
    drawn = (DOCS / "drawings" / "alignment.svg").read_text(encoding="utf-8")
    assert texts(drawn, "state") == [str(state) for state in states[0]]
    cells = [e.get("class") for e in ElementTree.fromstring(drawn).iter() if e.get("class") in ("yes", "no")]
    assert [cell == "yes" for cell in cells] == con.allowed(states).ravel().tolist()

    drawn = (DOCS / "drawings" / "rows.svg").read_text(encoding="utf-8")
    every = np.arange(con.num_states)
    rows = list(dict.fromkeys(map(tuple, con.allowed(every).tolist())))
    cells = [e.get("class") for e in ElementTree.fromstring(drawn).iter() if e.get("class") in ("yes", "no")]
    assert [cell == "yes" for cell in cells] == [cell for row in rows for cell in row]
    assert texts(drawn, "state") == [str(state) for state in every]


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_the_drawn_automaton_is_that_of_the_tutorial(folder):
    pytest.importorskip("graphviz")
    from fastmask.drawing import svg

    (schema,) = (b.text for b in pages.blocks(DOCS / "tutorials" / "corpus.md") if b.title == "person.schema.json")
    vocabulary = fm.Vocabulary([bytes([byte]) for byte in range(256)] + [None], eos_token_id=256)
    drawn = (DOCS / "drawings" / "person.svg").read_text(encoding="utf-8")
    assert sorted(texts(drawn)) == sorted(texts(svg(fm.Constraint.from_schema(schema, vocabulary))))


# ---- its order ------------------------------------------------------------------------------------------------------


def test_the_navigation_has_every_page():
    named = re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_the_readme_leads_to_the_site():
    assert "docs/index.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_headings_do_not_jump():
    for page in DOCS.rglob("*.md"):
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
        assert levels[0] == 1, page.name
        assert all(below - above <= 1 for above, below in pairwise(levels)), page.name
