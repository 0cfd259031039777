"""The values of ``format``: what is wrong with the translation of each, and what to write in its place."""

__all__ = ["FORMATS", "OTHER_FORMATS"]


def _in_place(pattern: str, beyond: str = "") -> str:
    """What to write for a format, and what that lets pass."""
    return f'; in its place, write the pattern "^{pattern}$"{beyond}'


_DATE = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_MINUTES = "([01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = f"{_MINUTES}:[0-5][0-9]([.][0-9]+)?(Z|[+-]{_MINUTES})"  # RFC 3339, without leap seconds

FORMATS = {
    # Those that are translated, and what is wrong with that.
    "date-time": "times without an offset, 31 February and years of any length would be accepted"
    + _in_place(f"{_DATE}T{_TIME}", " (31 February passes)"),
    "date": "31 February and digits outside of ASCII would be accepted" + _in_place(_DATE, " (31 February passes)"),
    "time": "times without an offset, and a backslash before a fraction, which is no JSON, would be accepted"
    + _in_place(_TIME),
    "uri": "unescaped quotes and backslashes would be accepted, which is no JSON"
    + _in_place("https?://[!#-;=?-Z_a-z~]+", " (more passes than addresses)"),
    "email": "unescaped quotes, backslashes and control characters would be accepted, which is no JSON"
    + _in_place("[0-9A-Za-z._%+-]+@[0-9A-Za-z.-]+", " (more passes than addresses)"),
    "uuid": None,
}
OTHER_FORMATS = (
    # Those of JSON Schema that it refuses, unless it overlooks them. Any other format asserts nothing.
    *("duration", "hostname", "idn-hostname", "idn-email", "ipv4", "ipv6", "uri-reference", "iri", "iri-reference"),
    *("uri-template", "json-pointer", "relative-json-pointer", "regex"),
)
