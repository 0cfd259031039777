"""Texts and answers → token ids with an exact boundary → padded batches with a state at every position.

An example reads `text <eos> answer <eos>`, such as `Get up! <eos> {"tokens":[…]} <eos>`. Prompt and answer are
tokenised apart and joined, so no token straddles the boundary. `states[b, t]` goes with `logits[b, t]`, the
prediction of token t+1; the loss therefore lives at t = start-1 … length-2, and nowhere else.
"""

import random
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from fastmask.canonical import canonical_tokens, spelling
from training.errors import TrainingError
from training.schema import TAGS

NO_WORD = -1
# A whole entry, so that answers of other tasks have no tags; a quote inside a word is escaped.
TAG = re.compile(rb'\{"text":"(?:[^"\\]|\\.)*","pos":"(%b)"\}' % "|".join(TAGS).encode())


@dataclass(frozen=True)
class Example:
    name: str
    tokens: list[int]  # [T] prompt, EOS, answer, EOS
    start: int  # index of the first answer token
    word: list[int]  # [T] the word to whose tag a token belongs, or NO_WORD; other tasks know that alone

    @property
    def prompt(self) -> list[int]:
        return self.tokens[: self.start]

    @property
    def answer(self) -> list[int]:
        return self.tokens[self.start :]


def encode(name: str, text: str, answer: str, tokenizer, vocab) -> Example:
    prompt = prompt_of(name, text, tokenizer)
    ids = canonical_tokens(answer, tokenizer, vocab)
    tokens = [*prompt.tokens, *ids, tokenizer.eos_token_id]
    return Example(name, tokens, prompt.start, [*prompt.word, *words_of_tags(answer, ids, vocab), NO_WORD])


def prompt_of(name: str, text: str, tokenizer) -> Example:
    """An example whose answer is yet to be given."""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    tokens = [*_beginning(tokenizer), *ids, tokenizer.eos_token_id]
    return Example(name, tokens, len(tokens), [NO_WORD] * len(tokens))


def _beginning(tokenizer) -> list[int]:
    """BOS, where the tokenizer puts it before a text: models such as Llama and Gemma never saw a text without."""
    bos = getattr(tokenizer, "bos_token_id", None)
    return [bos] if bos is not None and tokenizer("").input_ids[:1] == [bos] else []


def require_room(prompts: list[Example], max_length: int, con) -> None:
    """Behind every prompt the shortest answer must fit, with its EOS.

    Raises:
        TrainingError: a prompt that leaves no room; the longest is named.
    """
    longest = max(prompts, key=lambda prompt: prompt.start)
    shortest = con.distance(con.initial_state) + 1
    if longest.start + shortest > max_length:
        raise TrainingError(
            f"a prompt of {longest.start:,} tokens leaves no room for an answer of {shortest:,} or more, the run's"
            f" models read {max_length:,}: {longest.name[:60]!r}…; shorten it, or begin a run with a greater"
            " --max-length"
        )


def words_of_tags(answer: str, ids: list[int], vocab) -> list[int]:
    """For each token of the answer: the number of the word whose tag it spells, wholly or in part, or NO_WORD."""
    word_at = [NO_WORD] * len(answer.encode())
    for number, match in enumerate(TAG.finditer(answer.encode())):
        word_at[match.start(1) : match.end(1)] = [number] * len(match[1])
    word, end = [], 0
    for i in ids:
        begin, end = end, end + len(spelling([i], vocab))
        word.append(max(word_at[begin:end], default=NO_WORD))
    return word


@dataclass(frozen=True)
class Batch:
    tokens: Tensor  # int64 [B,T], padded on the right
    states: Tensor  # int32 [B,T]
    predicts: Tensor  # bool [B,T]: the logits here predict a token of the answer; True at N positions
    word: Tensor  # int64 [B,T]: as in Example, with numbers that are unique in the batch
    examples: list[Example]  # [B]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a model is called with. No attention mask: padding stands on the right and attention is causal, so no
        answer position can see it.
        """
        return {"input_ids": self.tokens}

    @property
    def answer_states(self) -> Tensor:  # [N], for the N rows of logits[predicts]
        return self.states[self.predicts]

    @property
    def targets(self) -> Tensor:  # [N]
        return self.tokens.roll(-1, dims=1)[self.predicts]

    @property
    def target_words(self) -> Tensor:  # [N]
        return self.word.roll(-1, dims=1)[self.predicts]


def collate(examples: list[Example], con, device="cpu") -> Batch:
    """Examples → one padded batch, its states from a single walk."""
    lengths = torch.tensor([len(e.tokens) for e in examples])  # [B]
    starts = torch.tensor([e.start for e in examples])  # [B]
    tokens = torch.zeros(len(examples), int(lengths.max()), dtype=torch.long)  # any id will do: padding is never read
    word = torch.full_like(tokens, NO_WORD)
    for b, example in enumerate(examples):
        tokens[b, : lengths[b]] = torch.tensor(example.tokens)
        word[b, : lengths[b]] = torch.tensor(example.word)
        word[b, word[b] != NO_WORD] += b * tokens.shape[1]
    time = torch.arange(tokens.shape[1])  # [T]
    predicts = (time >= starts[:, None] - 1) & (time <= lengths[:, None] - 2)
    if not predicts.any():
        raise TrainingError(f"a batch of {len(examples)} example(s) has no answer position: nothing to learn from")
    states = con.walk(tokens, start=starts, lengths=lengths)
    return Batch(*(x.to(device) for x in (tokens, states, predicts, word)), examples)


def groups_by_length(
    examples: list[Example], tokens_per_batch: int, rng: random.Random | None = None
) -> list[list[Example]]:
    """Neighbours in length together, as many as fit into `tokens_per_batch` with their padding, at least one.

    With `rng` the lengths are jittered by a twentieth, so that an example does not meet the same company every time.
    """
    jitter = (lambda: rng.uniform(0.95, 1.05)) if rng else (lambda: 1.0)
    groups: list[list[Example]] = []
    longest = 0
    for example in sorted(examples, key=lambda e: len(e.tokens) * jitter()):
        longest = max(longest, len(example.tokens))
        if not groups or longest * (len(groups[-1]) + 1) > tokens_per_batch:
            groups.append([])
            longest = len(example.tokens)
        groups[-1].append(example)
    return groups
