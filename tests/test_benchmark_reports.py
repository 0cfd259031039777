"""What is made of kept runs: the README's table, comparisons, histories, pictures."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.harness import Measurement, Report, Settings, Spread
from benchmarks.reporting import compare, history, readme
from benchmarks.reporting.comparison import compare as changes_of
from benchmarks.reporting.comparison import differences, in_one_alone
from benchmarks.reporting.picks import ahead
from benchmarks.reporting.rows import digits
from benchmarks.reporting.runs import RESULTS, Run
from benchmarks.reporting.series import by_number, by_quantile

ROOT = Path(__file__).resolve().parent.parent


def around(value, spread=0.1):
    return Spread(value * (1 - spread), value * (1 - spread / 2), value, value * (1 + spread / 2))


def line(group, workload, contender, value, unit="s", ratio=None, spread=0.1):
    within = None if ratio is None else around(ratio, spread)
    return Measurement(group, workload, contender, unit, around(value, spread), within)


def kept(path, *measurements, time="2026-01-02T03:04:05+00:00", findings=(), settings=None, **machine):
    """A run's file as the benchmarks write it."""
    report = Report(settings or Settings(), list(measurements))
    report.machine |= {"time": time, **machine}
    for target, workload, value in findings:
        report.find(target, workload, value)
    report.write(path)
    return path


def invoke(main, *arguments):
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# ---- reading ----------------------------------------------------------------------------------------------


def test_a_run_is_read_as_it_was_written(tmp_path):
    lines = [line("walk", "article · gpt2", "fastmask", 2e-8), line("walk", "article · gpt2", "peer", 4e-8, ratio=2.0)]
    run = Run.read(kept(tmp_path / "a.json", *lines, findings=[("walk.guide", "article · gpt2", 60.0)]))
    assert [(m.contender, m.value.median, m.ratio and m.ratio.median) for m in run.measurements] == [
        ("fastmask", 2e-8, None),
        ("peer", 4e-8, 2.0),
    ]
    assert [(f.target, f.value.median, f.reached) for f in run.findings] == [("walk.guide", 60.0, True)]


NO_RUNS = [
    "", "no JSON", "[]", "{}", '{"machine": {}, "settings": {}, "findings": [], "measurements": []}',
    '{"machine": {"time": "2026-01-02", "packages": {}}, "settings": {}, "findings": [{}], "measurements": []}',
]  # fmt: skip


@pytest.mark.parametrize("text", NO_RUNS)
def test_what_is_no_run_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(typer.BadParameter, match=r"a\.json is no run's file"):
        Run.read(tmp_path / "a.json")


def test_a_file_that_is_not_there_is_named(tmp_path):
    for main, *arguments in ((compare.main, tmp_path / "a.json"), (readme.main, "--readme")):
        refused = invoke(main, *arguments, tmp_path / "none.json")
        assert refused.exit_code == 2
        assert ".json" in refused.output


def test_of_a_group_in_two_runs_the_later_counts(tmp_path):
    first = kept(tmp_path / "a.json", line("walk", "w", "c", 1.0), line("rows", "w", "c", 2.0))
    second = kept(tmp_path / "b.json", line("rows", "w", "d", 3.0), findings=[("rows.bool", "w", 1.0)])
    run = Run.together([Run.read(first), Run.read(second)])
    assert [(m.group, m.contender) for m in run.measurements] == [("walk", "c"), ("rows", "d")]
    assert run.names == ["a.json", "b.json"]


# ---- the README -------------------------------------------------------------------------------------------


def test_readme_says_what_the_runs_it_names_say():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.BLOCK.search(text)
    paths = [RESULTS / name for name in block["names"].split()]
    lines, _ = readme.table(Run.together([Run.read(path) for path in paths]))
    assert block[0] == readme.framed(paths, lines)


def test_figures_of_the_readme_stand_in_the_files():
    """Without the code that picks them."""
    block = readme.BLOCK.search((ROOT / "README.md").read_text(encoding="utf-8"))
    records = [json.loads((RESULTS / name).read_text(encoding="utf-8")) for name in block["names"].split()]
    findings = {(f["target"], f["workload"]): f["value"]["median"] for r in records for f in r["findings"]}
    row = next(line for line in block["table"].splitlines() if "outlines_core.Index" in line)
    expected = [f"{findings['compile.table', f'article · {name}']:.0f} ×" for name in ("gpt2", "llama2", "llama3")]
    assert [cell.strip() for cell in row.split("|")[2:5]] == expected


def test_a_typed_figure_is_found_and_written_over(tmp_path):
    page = tmp_path / "README.md"
    good = (ROOT / "README.md").read_text(encoding="utf-8")
    page.write_text(good.replace(" × |", "9 × |", 1), encoding="utf-8")
    assert invoke(readme.main, "--check", "--readme", page).exit_code == 1
    assert invoke(readme.main, "--readme", page).exit_code == 0
    assert page.read_text(encoding="utf-8") == good
    assert invoke(readme.main, "--check", "--readme", page).exit_code == 0


def test_readme_cites_kept_runs_only(tmp_path):
    with pytest.raises(typer.BadParameter, match="is not kept"):
        readme.main([kept(tmp_path / "a.json")])


def test_rows_of_peers_and_of_those_ahead(tmp_path):
    lines = [line("latency", "article · gpt2", f"fastmask, {q}", 2e-6) for q in ("p50", "p99")]
    lines += [line("latency", "article · gpt2", f"xgrammar, {q}", 8e-6) for q in ("p50", "p99")]
    lines += [line("latency", "article · gpt2", f"llguidance, {q}", 9e-6) for q in ("p50", "p99")]
    lines += [line("schemas", "gpt2", "fastmask, compiled", 0.78, "of all")]
    lines += [line("schemas", "gpt2", "xgrammar, compiled", 0.95, "of all")]
    lines += [line("schemas", "gpt2 · recursive", f"{e}, compiled", 0.5, "of all") for e in ("fastmask", "xgrammar")]
    lines += [line("walk", "upos · llama2", "outlines-core, accept only", 1e-8, ratio=0.5)]
    lines += [line("walk", "article · llama2", "outlines-core, accept only", 1e-8, ratio=0.7)]
    lines += [line("walk", "article · llama2", "xgrammar, accept only", 1e-8, ratio=0.99)]  # within the spread
    lines += [line("latency", "numbers · gpt2", "fastmask, p50", 4e-6)]
    lines += [line("latency", "numbers · gpt2", "llguidance, p50", 1e-6)]
    lines += [line("rows", "bool · article · gpt2", "memset", 1e-8, ratio=0.5)]  # a limit, not a peer
    rows, left_out = readme.table(Run.read(kept(tmp_path / "a.json", *lines)))
    assert (
        "| the mask of one position, median / 99 of 100, against the fastest peer's (xgrammar) | 4.0 / 4.0 × |"
        in rows[2]
    )
    assert rows[3] == "| schemas from the wild that compile: fastmask / xgrammar | 78 / 95 % | | | `schemas` |"
    assert rows.pop(4) == "| … of the recursive ones | 50 / 50 % | | | `schemas` |"
    assert rows[4] == "| where outlines-core, accept only is furthest ahead (upos) | | 0.5 × | | `walk` |"
    assert rows[5] == "| where llguidance, p50 is furthest ahead (numbers) | 0.25 × | | | `latency` |"
    assert rows[6:] == ["", readme.PLOT]
    assert any("Guide" in what for what in left_out)


@pytest.mark.parametrize(
    ("value", "text"), [(3449, "3,449"), (9.96, "10"), (9.94, "9.9"), (1.0, "1.0"), (0.999, "1.0"), (0.243, "0.24")]
)
def test_digits(value, text):
    assert digits(value) == text


# ---- two runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "before", "after", "spread", "verdict"),
    [
        ("s/token", 1.0, 2.0, 0.1, "slower"),
        ("s", 2.0, 1.0, 0.1, "faster"),
        ("s", 1.0, 1.05, 0.1, "no difference"),  # the quartiles overlap
        ("s", 1.0, 2.0, 0.0, "no spread"),
        ("of all", 0.5, 0.6, 0.0, "faster"),
        ("bytes", 100, 120, 0.0, "slower"),
        ("instructions/row", 1000, 1009, 0.0, "no difference"),
        ("instructions/row", 1000, 1011, 0.0, "slower"),
        ("instructions/row", 1000, 989, 0.0, "faster"),
    ],
)
def test_verdicts(tmp_path, unit, before, after, spread, verdict):
    runs = [
        Run.read(kept(tmp_path / f"{i}.json", line("g", "w", "fastmask", value, unit, spread=spread)))
        for i, value in enumerate((before, after))
    ]
    (change,) = changes_of(*runs)
    assert (change.verdict, change.ours) == (verdict, True)
    assert change.ratio == pytest.approx(after / before, rel=1e-3)


def test_a_run_beside_itself_has_not_changed(tmp_path):
    lines = [line("walk", "w", "fastmask", 1.0), line("walk", "w", "xgrammar", 8.0, ratio=8.0, spread=0.0)]
    run = Run.read(kept(tmp_path / "a.json", *lines, line("memory", "w", "fastmask", 100, "bytes", spread=0.0)))
    assert {change.verdict for change in changes_of(run, run)} == {"no difference", "no spread"}


def test_a_slower_machine_shows_in_times_and_not_in_ratios(tmp_path):
    before = [line("walk", "w", "fastmask", 1.0), line("walk", "w", "xgrammar", 8.0, ratio=8.0)]
    after = [line("walk", "w", "fastmask", 3.0), line("walk", "w", "xgrammar", 24.0, ratio=8.0)]
    a, b = kept(tmp_path / "a.json", *before), kept(tmp_path / "b.json", *after, cpu="another")
    told = [(c.kind, c.contender, c.verdict, c.ours) for c in changes_of(Run.read(a), Run.read(b))]
    assert sorted(told) == [
        ("ratios", "xgrammar", "no difference", True),
        ("times", "fastmask", "slower", True),
        ("times", "xgrammar", "slower", False),
    ]
    assert any("another" in warning for warning in differences(Run.read(a), Run.read(b)))
    assert invoke(compare.main, a, b, "--fail-on-slower").exit_code == 0
    same = kept(tmp_path / "c.json", *after)
    assert differences(Run.read(a), Run.read(same)) == []
    assert invoke(compare.main, a, same).exit_code == 0
    assert invoke(compare.main, a, same, "--fail-on-slower").exit_code == 1


def test_a_lost_lead_is_slower_whatever_the_machine(tmp_path):
    a = kept(tmp_path / "a.json", line("walk", "w", "xgrammar", 8.0, ratio=8.0))
    b = kept(tmp_path / "b.json", line("walk", "w", "xgrammar", 2.0, ratio=4.0), cpu="another")
    result = invoke(compare.main, a, b, "--json", "--fail-on-slower")
    record = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [(c["kind"], c["verdict"], c["ratio"]) for c in record["changes"]] == [
        ("times", "faster", 0.25),  # the larger change comes first
        ("ratios", "slower", 0.5),
    ]
    assert record["warnings"]


def test_what_only_one_run_has_is_told(tmp_path):
    lines = [line("walk", "w", "fastmask", 1.0), line("rows", "w", "fastmask", 1.0), line("rows", "w", "memcpy", 1.0)]
    whole, part = kept(tmp_path / "a.json", *lines), kept(tmp_path / "b.json", lines[0])
    assert in_one_alone(Run.read(part), Run.read(whole)) == ["2 of rows"]
    assert "2 of rows" in invoke(compare.main, whole, part).stdout
    refused = invoke(compare.main, part, kept(tmp_path / "c.json", lines[1]))
    assert refused.exit_code == 2
    assert "1 of rows, 1 of walk" in " ".join(refused.output.replace("│", " ").split())


def test_another_sample_is_another_line(tmp_path):
    lines = line("schemas", "gpt2", "fastmask, p50", 1.0), line("walk", "w", "fastmask", 1.0)
    small, whole = (
        kept(tmp_path / f"{n}.json", *lines, settings=Settings(schemas=n), findings=[("schemas.p50", "gpt2", 1.0)])
        for n in (200, None)
    )
    assert [change.group for change in changes_of(Run.read(small), Run.read(whole))] == ["walk"]
    assert in_one_alone(Run.read(small), Run.read(whole)) == ["2 of schemas"]
    for name in ("schemas", "schemas.p50"):
        printed = invoke(history.main, name, "--results", tmp_path).stdout
        assert all(f"schemas {n}, schema_seconds 45.0" in printed for n in (200, None))
        assert printed.count("█" * history.WIDTH) == 2


def test_our_contenders_are_told_from_peers_by_any_name(tmp_path):
    def run(name, seconds):
        chunked = line("training_step", "w", "constrained, fastmask in chunks", seconds, ratio=seconds)
        return Run.read(kept(tmp_path / name, chunked))

    (change,) = changes_of(run("a.json", 2.0), run("b.json", 1.0))
    assert (change.kind, change.verdict, change.ours) == ("times", "faster", True)


@pytest.mark.parametrize("peer", ["Liger-Kernel", "torch.compile, mask at hand", "plain KL, eager torch"])
def test_any_peer_that_is_ahead_is_found(tmp_path, peer):
    run = Run.read(kept(tmp_path / "a.json", line("losses", "w", peer, 1.0, ratio=0.5), line("losses", "v", peer, 1.0)))
    assert [(lead.workload, ratio) for lead, ratio in ahead(run)] == [("w", 0.5)]


def test_history_is_in_the_order_of_time(tmp_path):
    kept(tmp_path / "a.json", time="2026-03-01T00:00:00+00:00", findings=[("walk.guide", "article · gpt2", 300.0)])
    kept(tmp_path / "b.json", time="2026-02-01T00:00:00+00:00", findings=[("walk.guide", "article · gpt2", 200.0)])
    printed = invoke(history.main, "walk.guide", "--results", tmp_path).stdout
    assert printed.index("200 × faster") < printed.index("300 × faster")
    refused = invoke(history.main, "walk.giude", "--results", tmp_path)
    assert refused.exit_code != 0
    assert "walk.giude" in refused.output


# ---- pictures ---------------------------------------------------------------------------------------------


def test_series_of_quantiles_and_of_numbers():
    lines = [line("latency", "w", "xgrammar, p50", 4.0), line("latency", "w", "fastmask, p50", 1.0)]
    lines += [line("latency", "w", "fastmask, p99", 2.0), line("latency", "w", "fastmask, compiled", 0.5, "of all")]
    series = by_quantile(lines)
    assert list(series) == ["fastmask", "xgrammar"]
    assert {quantile: spread.median for quantile, spread in series["fastmask"].items()} == {"p50": 1.0, "p99": 2.0}
    grown = [line("growth", f"length {n}", "fastmask", 1.0) for n in ("1,024", "64")]
    assert {what: list(s["fastmask"]) for what, s in by_number(grown).items()} == {"length": [64, 1024]}


def test_pictures_of_what_a_run_has(tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks.reporting import plots

    lines = [
        line("latency", "article · gpt2", f"{e}, {q}", 1e-6) for e in ("fastmask", "xgrammar") for q in ("p50", "max")
    ]
    lines += [line("growth", f"{what} {n}", "fastmask", 1e-6) for what in ("length", "batch") for n in (1, 64)]
    result = invoke(plots.main, kept(tmp_path / "a.json", *lines), "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    elsewhere = invoke(plots.main, tmp_path / "a.json", kept(tmp_path / "b.json", cpu="another"), "--out", tmp_path)
    assert "b.json differs from a.json in machine, cpu" in elsewhere.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["growth.svg", "latency.svg"]
    assert "schemas left out" in result.stderr
    words = "".join(ElementTree.parse(tmp_path / "out" / "latency.svg").getroot().itertext())
    assert all(word in words for word in ("fastmask", "xgrammar", "p50", "max", "µs"))

    complete = invoke(plots.main, RESULTS / "2026-11-22.json", "--out", tmp_path / "kept")
    assert complete.exit_code == 0, complete.output
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["schemas.svg"]
