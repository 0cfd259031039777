"""Patterns drawn from a grammar: atoms of several kinds, and what can be built of them."""

from hypothesis import strategies as st

RICH = st.sampled_from(
    [
        "a",
        "b",
        "c",
        ".",
        r"\d",
        r"\w",
        "é",
        "[ab]",
        "[^a]",
        "[a-c&&[^b]]",
        r"\p{Lu}",
        r"\n",
        "(?i:k)",
        "[b-d]",
        "日",
        "[é-日]",
        r"\x{1F600}",
        "(?s:.)",
        "[[:alpha:]--a]",
        r"(?-u:\w)",
        r"\s",
        r"[^\w]",
    ]
)
PLAIN = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", "[b-d]"])
NARROW = st.sampled_from(["a", "b", r"\d", "é", "[ab]", "[é-日]", r"\n", r"[a-c\n]", r"\s", r"\pL", r"\r", "[-+]"])
LOOKS = st.sampled_from(
    [r"(?-u:\b)", "(?m:$)", "(?m:^)", "$", r"\z", r"(?-u:\B)", "^", "(?mR:$)", "(?mR:^)", r"(?-u:\b{start})"]
)


def patterns(atoms):
    def larger(smaller):
        repeated = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,3}", "{2,}", "{0}", "*?", "+?", "??", "{1,2}?"])
        return st.one_of(
            st.lists(smaller, min_size=2, max_size=3).map("".join),
            st.lists(st.one_of(smaller, st.just("")), min_size=2, max_size=4).map(lambda b: f"({'|'.join(b)})"),
            st.tuples(smaller, repeated).map(lambda t: f"(?:{t[0]}){t[1]}"),
        )

    return st.recursive(atoms, larger, max_leaves=10)
