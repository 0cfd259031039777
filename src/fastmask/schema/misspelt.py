"""Keywords that look like another one.

JSON Schema has an unknown keyword mean nothing: it may be a note for people or for other programs. So only what all but
equals a keyword that would refuse something is taken for a slip.
"""

from difflib import get_close_matches
from functools import lru_cache

from fastmask.schema.rules import ASSERTIONS, DECIDERS, Schema

__all__ = ["meant_keyword"]

_CLOSE = 0.82  # of difflib's ratio: "propertys" and "foramt" lie above, "form" and "property" below
_REFUSING = {*ASSERTIONS, *DECIDERS}
_ANNOTATING = {
    # Known, too, and nothing gets lost with them: what JSON Schema has had since draft 3, OpenAPI's, the translation's.
    *("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "$comment", "$defs"),
    *("definitions", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "if"),
    *("maxContains", "minContains", "contentEncoding", "contentMediaType", "contentSchema", "additionalItems"),
    *("divisibleBy", "disallow", "extends", "nullable", "discriminator", "example", "externalDocs", "xml"),
    *(f"{bound}Digits{part}" for bound in ("min", "max") for part in ("Integer", "Fraction", "Exponent")),
}
_SPELLED = {keyword.lower(): keyword for keyword in sorted(_REFUSING | _ANNOTATING)}


def meant_keyword(keyword: str, node: Schema) -> str | None:
    """The keyword that was meant by an unknown one of `node`, if that keyword refuses something and is not there."""
    if keyword in _REFUSING or keyword in _ANNOTATING or not keyword[:1].isalpha() or keyword.startswith("x-"):
        return None  # the marks of what is another program's, or switched off: "_format"
    meant = _closest(keyword)
    return meant if meant in _REFUSING and meant not in node else None


@lru_cache(1000)  # a schema repeats its own keywords; those of ever more schemas are forgotten
def _closest(keyword: str) -> str | None:
    bare = keyword.replace("_", "").replace("-", "").lower()
    if bare in _SPELLED:
        return _SPELLED[bare]
    found = get_close_matches(keyword, _SPELLED.values(), 1, _CLOSE)  # as it is cased: "axPattern" is another word
    return found[0] if found and found[0] != "not" else None  # "note" is a note
