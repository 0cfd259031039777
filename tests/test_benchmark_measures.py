"""The benchmarks' own parts: who takes part, what a quantile is, which schemas count as recursive."""

import time
from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("typer")

import fastmask as fm
from benchmarks.formats import ARTICLE
from benchmarks.groups.latency import quantile_of
from benchmarks.groups.schemas import is_recursive, target
from benchmarks.harness import Report, Settings, Spread
from benchmarks.peers import PEERS
from benchmarks.peers import entrants as checking
from benchmarks.peers.batch import require_followed
from benchmarks.peers.compilers import COMPILED, Outcome
from benchmarks.peers.entrants import engine, entrants, time_limit
from benchmarks.peers.llguidance import LLGuidance
from benchmarks.peers.lm_format_enforcer import LMFormatEnforcer
from benchmarks.peers.single import row_of
from benchmarks.peers.xgrammar import XGrammar
from benchmarks.workloads import workloads


class StandIn:
    """A peer whose masks are fastmask's own, unless told otherwise."""

    name, needs, accepts_alone, by_regex, compared = "stand-in", (), True, False, None

    def __init__(self, tokenizer):
        self.con = next(workloads(True, [ARTICLE])).constraint()

    def schema(self, text):
        return self

    regex = schema

    def rows(self, memory):
        return list(memory)

    def masks(self, answer, rows):
        for state, row in zip(self.states(answer), rows, strict=False):
            self.con.bitmask(np.array([state], np.int32), out=row[None])

    def states(self, answer):
        return [self.con.initial_state, *(self.con.walk([answer])[0] if answer else [])]

    def read(self, answer):
        return True

    @staticmethod
    def agrees(theirs, ours, vocabulary):
        return np.array_equal(theirs, ours)


@pytest.fixture
def taking_part(monkeypatch):
    """A function: the entrants and notes when this peer is the only one installed."""

    def look(peer):
        monkeypatch.setattr(checking, "installed", lambda note: [peer])
        report = Report(Settings.for_correctness())
        return entrants(report, next(workloads(True, [ARTICLE]))), report.notes

    return look


def test_peer_that_does_the_same_job_takes_part(taking_part):
    class Faithful(StandIn): ...

    (entrant,), notes = taking_part(Faithful)
    assert entrant.tokens == sum(map(len, entrant.answers)) > 0
    assert notes == []


def test_peer_that_refuses_the_schema_is_noted(taking_part):
    class Refusing(StandIn):
        def schema(self, text):
            raise RuntimeError("no such keyword\nsecond line")

    found, (note,) = taking_part(Refusing)
    assert found == []
    assert note == "article · own BPE: stand-in left out, it refuses the schema: no such keyword"


def test_peer_that_refuses_some_answers_is_timed_on_the_others(taking_part):
    class Choosy(StandIn):
        def read(self, answer):
            return answer == next(workloads(True, [ARTICLE])).answers[0]

    (entrant,), (note,) = taking_part(Choosy)
    assert len(entrant.answers) == 1
    assert "refuses 3 of 4 answers" in note


def test_peer_that_refuses_all_answers_is_left_out(taking_part):
    class Sullen(StandIn):
        def read(self, answer):
            return False

    found, (note,) = taking_part(Sullen)
    assert found == []
    assert "refuses 4 of 4 answers" in note


def test_peer_that_reads_slowly_is_offered_fewer_answers(taking_part):
    class Reluctant(StandIn):
        def read(self, answer):
            time.sleep(0.6)
            return True

    (entrant,), (note,) = taking_part(Reluctant)
    assert len(entrant.answers) == 1
    assert "is offered 1 of 4 answers" in note


def test_wrong_mask_ends_the_run(taking_part):
    class Wrong(StandIn):
        def masks(self, answer, rows):
            super().masks(answer, rows)
            rows[0][0] ^= 1

    with pytest.raises(AssertionError, match="stand-in"):
        taking_part(Wrong)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # by what outlines-core's kernel imports
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peers_read_on_after_an_answer_that_they_refuse(peer):
    for package in peer.needs:
        pytest.importorskip(package)
    workload = next(workloads(True, [ARTICLE]))
    matcher, answer = engine(peer, workload.tokenizer).schema(workload.format.schema), workload.answers[0]
    assert [matcher.read(tokens) for tokens in (answer, answer[1:], answer)] == [True, False, True]


SMALL = fm.Vocabulary([b"a", b"b", "é".encode(), None, None], eos_token_id=4)  # 3: special, but no end


@pytest.mark.parametrize(
    ("peer", "theirs", "ours", "agree"),
    [
        (XGrammar, {0, 3}, {0}, True),  # the special token's text
        (XGrammar, {0, 1}, {0}, False),
        (XGrammar, {0, 4}, {0}, False),  # an end where there is none
        (LMFormatEnforcer, {0, 2}, {0}, True),  # beyond ASCII
        (LMFormatEnforcer, {0, 4}, {0}, False),
        (LLGuidance, {0, 1}, {0, 1}, True),
        (LLGuidance, {1}, {0, 1, 2}, True),  # what its tokenizer would choose
        (LLGuidance, {0, 1}, {0, 1, 2}, False),
        (LLGuidance, set(), {0}, False),
        (LLGuidance, {1}, {0}, False),
    ],
)
def test_masks_may_differ_by_what_is_known_of_an_engine_and_nothing_else(peer, theirs, ours, agree):
    rows = [np.stack([row_of((token in allowed for token in range(5)), 1)] * 2) for allowed in (theirs, ours)]
    assert peer.agrees(*rows, SMALL) == agree


@pytest.mark.parametrize(
    ("allowed", "complaint"), [({2, 9}, None), (set(), "other masks"), ({9}, "other masks"), (set(range(64)), "other")]
)
def test_batched_peers_are_held_to_their_last_masks(allowed, complaint):
    class Following:
        name = "stand-in"

        def follow(self, tokens, masks):
            masks[:] = row_of((token in allowed for token in range(64)), 2)
            return True

    tokens, masks = np.array([[1, 2], [1, 2]]), np.zeros((2, 2), np.int32)
    with pytest.raises(AssertionError, match=complaint) if complaint else nullcontext():
        require_followed(Following(), tokens, masks)


def test_slow_peer_gets_fewer_answers(taking_part):
    class Slow(StandIn):
        def masks(self, answer, rows):
            time.sleep(0.15)
            super().masks(answer, rows)

    (entrant,), notes = taking_part(Slow)
    assert len(entrant.answers) == 1
    assert any("is timed on 1 of 4 answers" in note for note in notes)


def test_time_limit_interrupts_python():
    def endless():
        with time_limit(0.05):
            while True:
                pass

    with pytest.raises(TimeoutError):
        endless()


def test_quantiles_are_times_that_were_measured():
    times = list(range(1_000, 0, -1))  # 1 … 1,000 ns
    shares = {0.5: 500, 0.99: 990, 0.999: 999, 1.0: 1_000}
    assert {share: quantile_of(times, share) for share in shares} == shares
    assert quantile_of([7], 0.999) == 7


def test_spread_keeps_the_largest():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(1.0, 1.5, 2.0, 2.5, maximum=3.0)


def test_engine_that_had_no_time_for_all_schemas_says_so_in_its_name(monkeypatch):
    import benchmarks.groups.schemas as group

    taken = [Outcome(COMPILED, 0.1), Outcome("ValueError", 0.2), Outcome(COMPILED, 0.3), Outcome(COMPILED, 0.4)]
    monkeypatch.setattr(group, "schema_sample", lambda: ['{"type": "null"}'] * 4)
    monkeypatch.setattr(group, "installed", lambda note, peers: [StandIn])
    monkeypatch.setattr(
        group, "compile_all", lambda engine, *rest: taken[:2] if engine == StandIn.name else list(taken)
    )
    report = Report(Settings.for_correctness())
    group.run(report)
    shares = {line.contender: line.value.median for line in report.measurements if line.unit == "of all"}
    assert shares["stand-in (2 of 4), compiled"] == 0.5
    assert shares["fastmask, compiled"] == shares["fastmask, from regex, compiled"] == 0.75
    assert any("recursive: 0 of 4" in note for note in report.notes)


@pytest.mark.parametrize("reason", ["no such keyword\nat /a", ""])
def test_compiling_goes_on_without_a_peer_that_refuses_the_schema(monkeypatch, reason):
    import benchmarks.groups.compile as group

    class Refusing(StandIn):
        name = "refusing"

        def schema(self, text):
            raise NotImplementedError(reason)

    report = Report(Settings.for_correctness())
    workload = next(workloads(True, [ARTICLE]))
    group.first_mask(report, workload, {peer: peer(workload.tokenizer) for peer in (Refusing, StandIn)})
    assert {line.contender for line in report.measurements} == {"fastmask", "stand-in"}
    [note] = [note for note in report.notes if "refusing" in note]
    assert note.endswith(f"left out, it refuses the schema: {reason.partition(chr(10))[0] or 'NotImplementedError'}")


RECURSIVE = [
    {"type": "array", "items": {"$ref": "#"}},
    {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/b"}}}, "b": {"$ref": "#/$defs/a"}}},
]
FLAT = [
    {"type": "string"},
    {"items": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "string"}}},
    {"$ref": "https://example.org/schema.json"},
    {"$ref": "#/nowhere"},
]


@pytest.mark.parametrize("schema", RECURSIVE)
def test_reference_that_comes_back_is_recursive(schema):
    assert is_recursive(schema)


@pytest.mark.parametrize("schema", FLAT)
def test_reference_that_leads_elsewhere_is_not(schema):
    assert not is_recursive(schema)


def test_pointers_are_unescaped():
    assert target({"a/b": {"~": 1}}, "#/a~1b/~0") == 1
