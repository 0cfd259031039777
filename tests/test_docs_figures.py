"""Figures that stand in sentences and tables of the papers are those of the kept runs."""

from __future__ import annotations

import json
import re

from tests.pages import ROOT

DOCS = ROOT / "docs"


def kept(name: str) -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def medians(*runs: dict) -> dict[tuple[str, str, str], float]:
    lines = [line for run in runs for line in run["measurements"]]
    return {(line["group"], line["workload"], line["contender"]): line["value"]["median"] for line in lines}


def counts(note: str) -> dict[str, int]:
    """Outcome → how many, of a note such as ``106 compiled, 8 SchemaError, of 200``."""
    found = {what: int(number) for number, what in re.findall(r"(\d+) ([\w ]+)", note)}
    return found | {"of": int(note.rpartition(" of ")[2].rstrip("."))}


def test_figures_in_sentences_are_those_of_the_run():
    training, peers = kept("2026-11-22-training"), kept("2026-11-22-peers")
    measured = medians(training, peers)
    found = {(finding["target"], finding["workload"]): finding["value"]["median"] for finding in peers["findings"]}
    cost = " ".join((DOCS / "concepts" / "cost.md").read_text(encoding="utf-8").split())
    walk = measured["corpus", "article · gpt2", "fastmask, annotate, 1 thread(s)"]
    text = measured["corpus", "article · gpt2, from text", "fastmask, annotate text"]
    memory = measured["memory", "article · gpt2", "fastmask, 71 states"]
    for told in (
        f"N × {walk * 1e9:.1f} ns",
        f"N × {text * 1e6:.2f} µs",
        f"{memory / 1e3:.0f} kB under GPT-2",
        f"two were {found['corpus.threads', 'article · gpt2']:.1f} times as fast as one",
        *(f"one of the {of} regular expressions" for t, w in found if t == "schemas.compiled" for of in w.split()[-1:]),
    ):
        assert told in cost
    corpora = (DOCS / "corpora.md").read_text(encoding="utf-8")
    for told in (f"| {1 / walk / 1e6:.0f} million tokens/s | {walk * 1e9:.0f} s |", f"| {text * 1e6:.2f} µs a token |"):
        assert told in corpora


def test_figures_of_the_design_are_those_of_the_runs_it_names():
    measured = medians(kept("2026-11-22-training"), kept("2026-11-22-peers"))
    guide, index, step, sizes = (
        [measured[group, workload.format(name), contender] for name in ("gpt2", "llama3")]
        for group, workload, contender in (
            ("walk", "article · {}", "outlines-core, mask and accept"),
            ("compile", "regex to all masks · article · {}", "outlines-core, Index"),
            ("generation", "article · {}, batch 64", "fastmask"),
            ("memory", "article · {}", "fastmask, 71 states"),
        )
    )
    xgrammar = measured["generation", "article · gpt2, batch 64", "xgrammar, contrib.hf.LogitsProcessor"]
    design = " ".join((ROOT / "DESIGN.md").read_text(encoding="utf-8").split())
    for told in (
        f"{guide[0] * 1e6:.0f} µs a token with outlines-core's `Guide` under GPT-2, {guide[1] * 1e6:.0f} µs under",
        f"against {index[0] * 1e3:.0f} and {index[1] * 1e3:.0f} ms for `outlines_core.Index`",
        f"now takes {step[0] * 1e3:.1f} ms beside the {xgrammar * 1e3:.1f} ms of xgrammar's processor",
        f"→ {sizes[0] / 1e3:.0f} kB for all masks under GPT-2",
        f"→ {sizes[1] / 1e3:.0f} kB under Llama-3",
    ):
        assert told in design


def test_the_limits_are_those_of_the_runs():
    told = " ".join((DOCS / "concepts" / "limits.md").read_text(encoding="utf-8").split())
    peers, complete = kept("2026-11-22-peers"), kept("2026-11-22")
    notes = dict(re.findall(r"^schemas: ([^:]+): (.*)$", "\n".join(peers["notes"]), re.MULTILINE))
    strict, by_regex = (counts(notes[name]) for name in ("fastmask", "fastmask, from regex"))
    of = strict["of"]
    assert f"Of {of} schemas from the wild" in told
    for compiled in (strict["compiled"], by_regex["compiled"]):
        assert f"{compiled} compile: {100 * compiled / of:.0f} %" in told
    assert f"{strict['UnsupportedSchemaError']} are [refused]" in told
    assert f"{strict['SchemaError']} cannot be translated, and {strict['CompileLimitError']} ends in a `Comp" in told
    others = [
        round(100 * share)
        for (group, workload, contender), share in medians(peers).items()
        if (group, workload) == ("schemas", "gpt2") and contender.endswith(", compiled") and "fastmask" not in contender
    ]
    assert f"Other engines compile {min(others)} to {max(others)} %" in told
    (whole,) = map(counts, complete["notes"])  # the one run of the whole sample
    regexes = whole["of"] - whole["without a regex"]
    assert (
        f"Of all {whole['of']} schemas of that sample outlines-core makes one of {regexes};"
        f" {whole['compiled']} of these compile,"
        f" {whole['CompileLimitError']} end in a `CompileLimitError` and {whole['RegexError']} in a `RegexError`."
    ) in told
