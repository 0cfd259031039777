"""What tagging adds to an evaluation: were the words copied, and were the tags right?

For another task than tagging there are no such figures: `read_gold` is None.
"""

from collections import Counter
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import from_json

from training.evaluation.uncertainty import wilson
from training.sampling.answers import Answer
from training.schema import AnnotatedSentence

Words = list[tuple[str, str]]  # (form, tag)


def read_gold(answers: Sequence[bytes]) -> list[Words] | None:
    """The words of the right answers, or None where they are no tagged sentences, or have no words at all."""
    try:
        sentences = [AnnotatedSentence.model_validate_json(answer) for answer in answers]
    except ValidationError:
        return None
    gold = [[(token.text, token.pos) for token in sentence.tokens] for sentence in sentences]
    return gold if any(gold) else None


def read_words(answer: Answer) -> Words:
    """The words that a model wrote, of a broken answer those before the break; a tag that was not reached is ""."""
    return [(entry["text"], entry.get("pos", "")) for entry in _entries(answer.kept) if "text" in entry]


def read_tags(answer: bytes) -> list[str]:
    """The tags of an answer that may have no end yet; "" in an entry whose tag has none, or is not there."""
    return [entry.get("pos", "") for entry in _entries(answer)]


def copying(answers: list[Answer], gold: list[Words]) -> dict:
    """How well the sentences' words were copied.

    exact_copy: the share of answers that are valid and whose words are exactly those of the right answer;
    exact_copy_interval: Wilson's. words_copied: the share of the right answers' words that stand in the answers, in
    their order: the longest common subsequence, of what stands before the break.
    """
    written = [_forms(read_words(answer)) for answer in answers]
    right = [_forms(words) for words in gold]
    exact = sum(map(_is_exact, answers, gold)) / len(answers)
    return {
        "exact_copy": exact,
        "exact_copy_interval": wilson(exact, len(answers)),
        "words_copied": sum(map(common_length, written, right)) / sum(map(len, right)),
    }


def tags_of_copies(answers: list[Answer], gold: list[Words]) -> dict[str, float] | None:
    """Tags of the answers that are exact copies, None without any: the plainest measure, on the easier sentences."""
    exact = [
        (read_words(answer), words) for answer, words in zip(answers, gold, strict=True) if _is_exact(answer, words)
    ]
    written = [tag for words, _ in exact for _, tag in words]
    right = [tag for _, words in exact for _, tag in words]
    if not right:
        return None
    return {
        "answers": len(exact),
        "words": len(right),
        "accuracy": accuracy(right, written),
        "macro_f1": macro_f1(right, written),
    }


def accuracy(right: Sequence[str], written: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(right, written, strict=True)) / len(right)


def macro_f1(right: Sequence[str], written: Sequence[str]) -> float:
    """The mean over tags of 2·tp / (2·tp + fp + fn), the harmonic mean of precision and recall.

    Over the tags that occur among the right or the written ones, as in scikit-learn; a tag that is never hit has 0.
    A written "" is none, and only makes the right one missed.
    """
    in_right, in_written = Counter(right), Counter(filter(None, written))
    hits = Counter(a for a, b in zip(right, written, strict=True) if a == b)
    tags = in_right | in_written
    return sum(2 * hits[tag] / (in_right[tag] + in_written[tag]) for tag in tags) / len(tags)


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, by the textbook's table, a row at a time."""
    above = [0] * (len(second) + 1)
    for a in first:
        row = [0]
        for j, b in enumerate(second):
            row.append(above[j] + 1 if a == b else max(above[j + 1], row[j]))
        above = row
    return above[-1]


def _entries(answer: bytes) -> list[dict]:
    text = answer.decode(errors="ignore")  # one that is cut off within a character ends with a part of it
    read = from_json(text, allow_partial=True) if text else {}
    found = read.get("tokens", []) if isinstance(read, dict) else []
    return [entry for entry in found if isinstance(entry, dict)]


def _forms(words: Words) -> list[str]:
    return [form for form, _ in words]


def _is_exact(answer: Answer, gold: Words) -> bool:
    return answer.verdict == "valid" and _forms(read_words(answer)) == _forms(gold)
