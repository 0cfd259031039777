"""Writes csrc/regex/unicode_tables.inc: which characters each Unicode property holds, and which fold together.

The truth is outlines-core itself: for each property name, `\\p{name}` is compiled on an alphabet of 256 one-byte
tokens, and the code points are read back from the automaton. So both builders know the same Unicode, whatever
version of it outlines-core carries, and a name that it refuses is not in the table.

    python tools/generate_unicode_tables.py            # rewrites the table, about a minute
    python tools/generate_unicode_tables.py --check    # exits with 1 if the table is not what would be written
"""

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import outlines_core

TABLE = Path(__file__).resolve().parent.parent / "csrc" / "regex" / "unicode_tables.inc"
LAST = 0x10FFFF

# The names to ask for: per value, all its spellings. Case, spaces, `_`, `-` and a leading "is" do not count.
GENERAL_CATEGORIES = """
C Other;Cc Control Cntrl;Cf Format;Cn Unassigned;Co Private_Use;Cs Surrogate;L Letter;LC Cased_Letter;
Ll Lowercase_Letter;Lm Modifier_Letter;Lo Other_Letter;Lt Titlecase_Letter;Lu Uppercase_Letter;M Mark Combining_Mark;
Mc Spacing_Mark;Me Enclosing_Mark;Mn Nonspacing_Mark;N Number;Nd Decimal_Number Digit;Nl Letter_Number;No Other_Number;
P Punctuation Punct;Pc Connector_Punctuation;Pd Dash_Punctuation;Pe Close_Punctuation;Pf Final_Punctuation;
Pi Initial_Punctuation;Po Other_Punctuation;Ps Open_Punctuation;S Symbol;Sc Currency_Symbol;Sk Modifier_Symbol;
Sm Math_Symbol;So Other_Symbol;Z Separator;Zl Line_Separator;Zp Paragraph_Separator;Zs Space_Separator;
Any;Assigned;ASCII
"""
SCRIPTS = """
Adlm Adlam;Aghb Caucasian_Albanian;Ahom;Arab Arabic;Armi Imperial_Aramaic;Armn Armenian;Avst Avestan;Bali Balinese;
Bamu Bamum;Bass Bassa_Vah;Batk Batak;Beng Bengali;Bhks Bhaiksuki;Bopo Bopomofo;Brah Brahmi;Brai Braille;Bugi Buginese;
Buhd Buhid;Cakm Chakma;Cans Canadian_Aboriginal;Cari Carian;Cham;Cher Cherokee;Chrs Chorasmian;Copt Coptic Qaac;
Cpmn Cypro_Minoan;Cprt Cypriot;Cyrl Cyrillic;Deva Devanagari;Diak Dives_Akuru;Dogr Dogra;Dsrt Deseret;Dupl Duployan;
Egyp Egyptian_Hieroglyphs;Elba Elbasan;Elym Elymaic;Ethi Ethiopic;Gara Garay;Geor Georgian;Glag Glagolitic;
Gong Gunjala_Gondi;Gonm Masaram_Gondi;Goth Gothic;Gran Grantha;Grek Greek;Gujr Gujarati;Gukh Gurung_Khema;
Guru Gurmukhi;Hang Hangul;Hani Han;Hano Hanunoo;Hatr Hatran;Hebr Hebrew;Hira Hiragana;Hluw Anatolian_Hieroglyphs;
Hmng Pahawh_Hmong;Hmnp Nyiakeng_Puachue_Hmong;Hrkt Katakana_Or_Hiragana;Hung Old_Hungarian;Ital Old_Italic;
Java Javanese;
Kali Kayah_Li;Kana Katakana;Kawi;Khar Kharoshthi;Khmr Khmer;Khoj Khojki;Kits Khitan_Small_Script;Knda Kannada;
Krai Kirat_Rai;
Kthi Kaithi;Lana Tai_Tham;Laoo Lao;Latn Latin;Lepc Lepcha;Limb Limbu;Lina Linear_A;Linb Linear_B;Lisu;Lyci Lycian;
Lydi Lydian;Mahj Mahajani;Maka Makasar;Mand Mandaic;Mani Manichaean;Marc Marchen;Medf Medefaidrin;Mend Mende_Kikakui;
Merc Meroitic_Cursive;Mero Meroitic_Hieroglyphs;Mlym Malayalam;Modi;Mong Mongolian;Mroo Mro;Mtei Meetei_Mayek;
Mult Multani;Mymr Myanmar;Nagm Nag_Mundari;Nand Nandinagari;Narb Old_North_Arabian;Nbat Nabataean;Newa;Nkoo Nko;
Nshu Nushu;Ogam Ogham;Olck Ol_Chiki;Onao Ol_Onal;Orkh Old_Turkic;Orya Oriya;Osge Osage;Osma Osmanya;Ougr Old_Uyghur;
Palm Palmyrene;Pauc Pau_Cin_Hau;Perm Old_Permic;Phag Phags_Pa;Phli Inscriptional_Pahlavi;Phlp Psalter_Pahlavi;
Phnx Phoenician;Plrd Miao;Prti Inscriptional_Parthian;Rjng Rejang;Rohg Hanifi_Rohingya;Runr Runic;Samr Samaritan;
Sarb Old_South_Arabian;Saur Saurashtra;Sgnw SignWriting;Shaw Shavian;Shrd Sharada;Sidd Siddham;Sind Khudawadi;
Sinh Sinhala;Sogd Sogdian;Sogo Old_Sogdian;Sora Sora_Sompeng;Soyo Soyombo;Sund Sundanese;Sunu Sunuwar;
Sylo Syloti_Nagri;Syrc Syriac;Tagb Tagbanwa;Takr Takri;Tale Tai_Le;Talu New_Tai_Lue;Taml Tamil;Tang Tangut;
Tavt Tai_Viet;Telu Telugu;Tfng Tifinagh;Tglg Tagalog;Thaa Thaana;Thai;Tibt Tibetan;Tirh Tirhuta;Tnsa Tangsa;
Todr Todhri;Toto;Tutg Tulu_Tigalari;Ugar Ugaritic;Vaii Vai;Vith Vithkuqi;Wara Warang_Citi;Wcho Wancho;Xpeo Old_Persian;
Xsux Cuneiform;Yezi Yezidi;Yiii Yi;Zanb Zanabazar_Square;Zinh Inherited Qaai;Zyyy Common;Zzzz Unknown
"""
BINARY_PROPERTIES = """
AHex ASCII_Hex_Digit;Alpha Alphabetic;Bidi_C Bidi_Control;Bidi_M Bidi_Mirrored;Cased;CE Composition_Exclusion;
CI Case_Ignorable;Comp_Ex Full_Composition_Exclusion;CWCF Changes_When_Casefolded;CWCM Changes_When_Casemapped;
CWKCF Changes_When_NFKC_Casefolded;CWL Changes_When_Lowercased;CWT Changes_When_Titlecased;
CWU Changes_When_Uppercased;Dash;Dep Deprecated;DI Default_Ignorable_Code_Point;Dia Diacritic;EBase Emoji_Modifier_Base;
EComp Emoji_Component;EMod Emoji_Modifier;Emoji;EPres Emoji_Presentation;Ext Extender;ExtPict Extended_Pictographic;
Gr_Base Grapheme_Base;Gr_Ext Grapheme_Extend;Gr_Link Grapheme_Link;Hex Hex_Digit;Hyphen;IDC ID_Continue;
IDCM ID_Compat_Math_Continue ID_Compat_Math_Start;Ideo Ideographic;IDS ID_Start;IDSB IDS_Binary_Operator;
IDST IDS_Trinary_Operator;IDSU IDS_Unary_Operator;Join_C Join_Control;LOE Logical_Order_Exception;Lower Lowercase;Math;
MCM Modifier_Combining_Mark;NChar Noncharacter_Code_Point;OAlpha Other_Alphabetic;
ODI Other_Default_Ignorable_Code_Point;
OGr_Ext Other_Grapheme_Extend;OIDC Other_ID_Continue;OIDS Other_ID_Start;OLower Other_Lowercase;OMath Other_Math;
OUpper Other_Uppercase;Pat_Syn Pattern_Syntax;Pat_WS Pattern_White_Space;PCM Prepended_Concatenation_Mark;
QMark Quotation_Mark;Radical;RI Regional_Indicator;SD Soft_Dotted;STerm Sentence_Terminal;Term Terminal_Punctuation;
UIdeo Unified_Ideograph;Upper Uppercase;VS Variation_Selector;WSpace White_Space Space;XIDC XID_Continue;XIDS XID_Start;
XO_NFC Expands_On_NFC;XO_NFD Expands_On_NFD;XO_NFKC Expands_On_NFKC;XO_NFKD Expands_On_NFKD
"""
AGES = """
V1_1 1.1;V2_0 2.0;V2_1 2.1;V3_0 3.0;V3_1 3.1;V3_2 3.2;V4_0 4.0;V4_1 4.1;V5_0 5.0;V5_1 5.1;V5_2 5.2;V6_0 6.0;V6_1 6.1;
V6_2 6.2;V6_3 6.3;V7_0 7.0;V8_0 8.0;V9_0 9.0;V10_0 10.0;V11_0 11.0;V12_0 12.0;V12_1 12.1;V13_0 13.0;V14_0 14.0;
V15_0 15.0;V15_1 15.1;V16_0 16.0;V17_0 17.0;NA Unassigned
"""
GRAPHEME_BREAKS = """
CN Control;CR;EB E_Base;EBG E_Base_GAZ;EM E_Modifier;EX Extend;GAZ Glue_After_Zwj;L;LF;LV;LVT;PP Prepend;
RI Regional_Indicator;SM SpacingMark;T;V;XX Other;ZWJ
"""
WORD_BREAKS = """
CR;DQ Double_Quote;EB E_Base;EBG E_Base_GAZ;EM E_Modifier;EX ExtendNumLet;Extend;FO Format;GAZ Glue_After_Zwj;
HL Hebrew_Letter;KA Katakana;LE ALetter;LF;MB MidNumLet;ML MidLetter;MN MidNum;NL Newline;NU Numeric;
RI Regional_Indicator;SQ Single_Quote;WSegSpace;XX Other;ZWJ
"""
SENTENCE_BREAKS = """
AT ATerm;CL Close;CR;EX Extend;FO Format;LE OLetter;LF;LO Lower;NU Numeric;SC SContinue;SE Sep;SP Sp;ST STerm;UP Upper;
XX Other
"""

# C++ array → (what stands before the name inside \p{…}, the names).
NAMESPACES = {
    "kBinary": ("", f"{BINARY_PROPERTIES};{GENERAL_CATEGORIES};{SCRIPTS}"),
    "kGeneralCategory": ("gc=", GENERAL_CATEGORIES),
    "kScript": ("sc=", SCRIPTS),
    "kScriptExtensions": ("scx=", SCRIPTS),
    "kAge": ("age=", AGES),
    "kGraphemeClusterBreak": ("gcb=", GRAPHEME_BREAKS),
    "kWordBreak": ("wb=", WORD_BREAKS),
    "kSentenceBreak": ("sb=", SENTENCE_BREAKS),
}

Ranges = tuple[tuple[int, int], ...]


def names_in(text: str) -> list[str]:
    """Every spelling in a block of names, loosely matched: lower case, no separators."""
    return sorted({name.replace("_", "").lower() for name in text.replace(";", " ").split()})


# --- reading code points back from an automaton ---------------------------------------------------------------

_BYTES = outlines_core.Vocabulary(256, {bytes([b]): [b] for b in range(256)})


def characters_of(pattern: str) -> Ranges | None:
    """The code points that a pattern of one character matches; None where outlines-core refuses the pattern."""
    try:
        index = outlines_core.Index(pattern, _BYTES)
    except ValueError:
        return None
    edges = index.get_transitions()
    continuations: dict[int, Ranges] = {}

    def below(state: int, depth: int) -> Ranges:
        """The values of `depth` continuation bytes that lead from `state` to the end."""
        if depth == 0:
            return ((0, 0),)
        if state not in continuations:
            size = 64 ** (depth - 1)
            continuations[state] = merged(
                ((byte - 0x80) * size + low, (byte - 0x80) * size + high)
                for byte, target in sorted(edges[state].items())
                for low, high in below(target, depth - 1)
            )
        return continuations[state]

    found = []
    for byte, target in sorted(edges[index.get_initial_state()].items()):
        depth = 0 if byte < 0x80 else 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
        base = (byte & (0x7F, 0x1F, 0x0F, 0x07)[depth]) << 6 * depth
        found += [(base + low, base + high) for low, high in below(target, depth)]
    return merged(found)


def merged(ranges) -> Ranges:
    """Sorted ranges with neighbours joined."""
    result: list[tuple[int, int]] = []
    for low, high in ranges:
        if result and low == result[-1][1] + 1:
            result[-1] = (result[-1][0], high)
        else:
            result.append((low, high))
    return tuple(result)


def complement(ranges: Ranges) -> Ranges:
    """Everything but `ranges` and the surrogates, which are no characters."""
    result, start = [], 0
    for low, high in merged(sorted([*ranges, (0xD800, 0xDFFF)])):
        if low > start:
            result.append((start, low - 1))
        start = high + 1
    return tuple(result) + (((start, LAST),) if start <= LAST else ())


# --- case folding ---------------------------------------------------------------------------------------------


def case_orbits() -> list[tuple[int, ...]]:
    """The sets of characters that `(?i)` takes for each other, smallest member first."""
    candidates = sorted(
        {
            code
            for name in ("CWCM", "CWCF", "Lu", "Ll", "Lt")
            for low, high in characters_of(rf"\p{{{name}}}")
            for code in range(low, high + 1)
        }
    )
    orbits = set()
    for code in candidates:
        members = tuple(c for low, high in characters_of(rf"(?i:\x{{{code:x}}})") for c in range(low, high + 1))
        if len(members) > 1:
            orbits.add(members)
    rest = complement(merged((c, c) for c in candidates))
    spelt = "".join(rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in rest)
    if characters_of(f"(?i:[{spelt}])") != rest:
        raise SystemExit("a character outside the candidates folds: widen the list of candidates")
    return sorted(orbits)


# --- writing --------------------------------------------------------------------------------------------------

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-"


def encoded(numbers) -> str:
    """Numbers as text: five bits a digit, low digits first, 32 added to each digit but a number's last."""
    text = []
    for number in numbers:
        while number >= 32:
            text.append(DIGITS[32 + number % 32])
            number //= 32
        text.append(DIGITS[number])
    return "".join(text)


def encoded_ranges(ranges: Ranges) -> str:
    """Each range as its distance from the end of the one before, then its length less one."""
    numbers, end = [], 0
    for low, high in ranges:
        numbers += [low - end, high - low]
        end = high + 1
    return encoded(numbers)


def encoded_orbits(orbits: list[tuple[int, ...]]) -> str:
    """Each orbit as its size, then the distance of its first member from the last orbit's, then inner distances."""
    numbers, first = [], 0
    for orbit in orbits:
        numbers += [len(orbit), orbit[0] - first]
        numbers += [b - a for a, b in pairwise(orbit)]
        first = orbit[0]
    return encoded(numbers)


def quoted(text: str, indent: str) -> str:
    """A string literal, cut into lines."""
    width = 116 - len(indent)
    return f"\n{indent}".join(f'"{text[i : i + width]}"' for i in range(0, max(len(text), 1), width))


def render() -> str:
    sets: dict[Ranges, int] = {}
    arrays = []
    for array, (prefix, names) in NAMESPACES.items():
        entries = []
        for name in names_in(names):
            ranges = characters_of(rf"\p{{{prefix}{name}}}")
            if ranges is not None:
                entries.append(f'{{"{name}", {sets.setdefault(ranges, len(sets))}}}')
        lines = [""]
        for entry in entries:
            if len(lines[-1]) + len(entry) > 116:
                lines.append("")
            lines[-1] += f"{' ' if lines[-1] else ''}{entry},"
        arrays.append(f"constexpr NamedSet {array}[] = {{\n    " + "\n    ".join(lines) + "\n};\n")
    word, space, digit = (sets.setdefault(characters_of(p), len(sets)) for p in (r"\w", r"\s", r"\d"))
    literals = "".join(f"    {quoted(encoded_ranges(ranges), '    ')},\n" for ranges in sets)
    return (
        "// Written by tools/generate_unicode_tables.py, which says how to read it; do not edit.\n"
        f"// The characters are those of outlines-core {version()}.\n\n"
        f"constexpr const char* kSets[] = {{\n{literals}}};\n\n"
        f"constexpr int kWordSet = {word};\nconstexpr int kSpaceSet = {space};\nconstexpr int kDigitSet = {digit};\n\n"
        f"{chr(10).join(arrays)}\n"
        f"constexpr const char* kCaseOrbits =\n    {quoted(encoded_orbits(case_orbits()), '    ')};\n"
    )


def version() -> str:
    from importlib.metadata import version as of

    return of("outlines_core")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the table is up to date")
    arguments = parser.parse_args()
    text = render()
    if arguments.check:
        same = TABLE.exists() and TABLE.read_text() == text
        print(f"{TABLE.name}: {'up to date' if same else 'out of date; run tools/generate_unicode_tables.py'}")
        return 0 if same else 1
    TABLE.write_text(text)
    print(f"{TABLE.name}: {len(text):,} characters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
