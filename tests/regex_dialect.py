"""One table of the regex dialect: patterns that outlines-core accepts and patterns that it refuses, side by side."""

# Accepted or refused: outlines-core says which.
DIALECT = r"""
a
abc
a|b
a|ab
ab|a
(a|ab)(c|bcd)
a*?
a??b?
(|a)+
(a*)*
(a|b)*abb
a{2,4}
a{2,4}?
a{0}
a{0,0}b
a{3}
a{2,}
a{,3}
a{ 2 , 3 }
a{2 ,3}
a{2, }
a{}
a{,}
a{x}
{2}
a{2
a{2,
a{2,3
a{3,2}
a{2}{3}
a**
a+*?
a?+
+
*
?
a|*
(*)
(?:)
()
()*
(){5}
(|)
|
|a
a|
a||b
(|a|)
(a
a)
(()
)
(?:a
(?i)abc
(?i:abc)d
a(?i)b|c
(?i)a(?-i)b
(?i)k
(?i)ß
(?i)ſ
(?i)[k-s]
(?i)[^k]
(?i)\x{212A}
(?i)É
(?i)Ω
(?i)[α-ω]
(?i)\p{Lu}
(?i)\P{Lu}
(?i)[\p{Lu}--a]
(?i)[a-z&&[^A]]
(?i)[[:lower:]]
(?i)[[:^lower:]]
(?i)\w
(?i)[\W]
(?i)[\d\Wk]
(?-u)abc
(?-u:\w)
(?-u:\d\s)
(?-u:\W)
(?-u:\D)
(?-u:.)
(?-u:\xFF)
(?-u:\x7F)
(?-u:\x{FF})
(?-u:é)
(?-u:[é])
(?-u:[a-z])
(?-u:[^a])
(?-u:[\x00-\x7F])
(?-u:[\x00-\xFF])
(?i-u:k)
(?i-u:[k])
(?-u:\pL)
(?-u:[[:alpha:]])
(?-u:[[:^alpha:]])
(?-u:\bfoo)
a(?-u:\b)b
a(?-u:\b) b
a(?-u:\B)b
a(?-u:\B) b
a\b b
a\B
\b
\bab
ab\b
a(?-u:\b)
a(?-u:\b{start})b
a(?-u:\b{end}) 
a(?-u:\b{start-half})b
a(?-u:\b{end-half})b
a(?-u:\<)b
a (?-u:\<)b
a(?-u:\>) 
a\<b
a\b{foo}
a\b{2}
a(?-u:\b{2}) 
a(?-u:\b{
^
^a
^a$
a$
a\z
a\Z
a\A
\Aa
\za
a^
a^b
a|^b
(|^)b
a$b
(a$)
(a$|b)c?
a(?m:$)
a(?m:$)\nb
(?m)^a$
a\n(?m:^)b
a(?m:^)b
\n?(?m:^)b
a(?m:$)\n?
a(?mR:$)\r\nb
a(?mR:$)\nb
a\r(?mR:^)\nb
a\r(?mR:^)b
a\n(?mR:^)b
a\r(?mR:$)\nb
a(?mR:$)\rb
(?R).
(?sR).
(?s).
.
.*
.+x
(?s:.)*
(?U)a*
(?U)a*?
(?U:a+)b
(?U:a+?)b
(?x) a b c
(?x) a # comment
b
(?x) [ a b # c
 ]
(?x: a b ) c
(?x)a {2}
(?x)a{ 2 }
(?x)a{1 2}
(?x)\ a
(?x)\x4 1
(?x)\x{4 1}
(?x)( ?:a)
(?x)(? :a)
(?x)(?i :a)
(?x)a+ ?
(?x)a{2} ?
(?x)[a - c]
(?x)[a -]
(?x)[a # x
 - c]
(?x)[ ^ a]
(?x)[ - a]
(?x)[ ] ]
(?x)\p {Greek}
(?x)\p{ Gr eek}
(?x)\p L
(?x)a\
(?x)[[: alpha :]]
(?x)#
(?i)(?x) A
(?ix) A
(?x-i) A
(?-x) a
(?)
(?-)
(?i-)
(?-i)
(?i-i)
(?ii)
(?i-s-m)
(?q)
(?i
(?
(?i:
(?iUmsuxR)a
(?P<n>a)
(?<n>a)
(?P<n>a)(?P<n>b)
(?P<n>a)(?P<m>b)
(?P<>a)
(?P<1>a)
(?P<_1>a)
(?P<a.b[0]>a)
(?P<é>a)
(?P<a-b>a)
(?P<n
(?P<n>
(?P=n)
(?'n'a)
(?=a)
(?!a)
(?<=a)
(?<!a)
(?>a)
(?#a)
(?:a|b)+
\1
\0
\8
\07
\a
\f
\t
\n
\r
\v
\e
\x41
\x4
\x
\xG1
\x{41}
\x{1F600}
\x{110000}
\x{D800}
\x{}
\x{
\x{41
\x{0000000000041}
\x{FFFFFFFFFFFF}
\u0041
\u00e9
\u{e9}
\uD800
\u12
\U0001F600
\U{1F600}
\U00110000
\d
\D
\w
\W
\s
\S
\h
\R
\X
\K
\G
\Q
\c
\N
\i
\-
\#
\ 
\%
\!
\"
\'
\/
\:
\;
\<a
\=
\>
\@
\_
\`
\~
\,
\&
\{
\}
\é
\\
\
[a]
[abc]
[a-c]
[c-a]
[a-a]
[^a]
[^a-z]
[]a]
[^]a]
[]
[^]
[a
[a-
[-a]
[a-]
[--a]
[---]
[-]
[^-]
[a-c-e]
[a\-c]
[a-\x63]
[\x61-c]
[a-\d]
[\d-a]
[\d-]
[\w.]
[\W\d]
[^\W\d]
[^\s\S]
[\s\S]
[\b]
[\A]
[\z]
[\1]
[\p{Greek}]
[^\p{Greek}]
[\pL\pN]
[\PL]
[a&&b]
x|[a&&b]
[a-z&&[^aeiou]]
[a-z&&aeiou]
[a-z--aeiou]
[a-z~~c-f]
[a-z&&b-y--c]
[&&a]
[a&&]
[a&]
[a&&&b]
[a-z--]
[~~a]
[a~~a]
[[a]]
[[a-c][e-g]]
[[^a]b]
[^[^a]]
[[a]
[a[b]c]
[[a&&b]c]
[[:alpha:]]
[[:^alpha:]]
[[:alnum:][:punct:]]
[[:foo:]]
[[:alpha]]
[:alpha:]
[[:word:]&&[^_]]
[[:space:][:blank:]]
[[:cntrl:][:graph:]]
[[:print:][:upper:]]
[[:xdigit:]]
[[:ascii:]]
[[:digit:]-z]
[[:^
[[:alpha:
[]-a]
[]-\x60]
[\]-a]
[.]
[$^]
[|]
[(]
[*]
[é-ü]
[\u00e0-\u00ff]
[\u0000-\U0010FFFF]
[\uD7FF-\uE000]
[a-\u{10FFFF}]
[^\u0000-\u{10FFFF}]
[\n-\r]
[🎉-🎊]
日本語
🎉
é
\p{L}
\pL
\PL
\p{^L}
\p{Lu}
\p{lu}
\p{LU}
\p{Uppercase Letter}
\p{uppercase-letter}
\p{isLu}
\p{Is_Greek}
\p{Greek}
\p{Grek}
\p{sc=Greek}
\p{Script=Greek}
\p{script:greek}
\p{sc!=Greek}
\P{sc!=Greek}
\p{scx=Greek}
\p{Script_Extensions=Greek}
\p{gc=Lu}
\p{General_Category=Lu}
\p{gc=Greek}
\p{sc=Lu}
\p{Any}
\p{Assigned}
\p{ASCII}
\p{Cn}
\p{Cs}
\p{C}
\p{isc}
\p{sc}
\p{cf}
\p{lc}
\p{Alphabetic}
\p{White_Space}
\p{space}
\p{Emoji}
\p{XIDS}
\p{age=5.0}
\p{age=V5_0}
\p{age=9.9}
\p{gcb=Extend}
\p{wb=ALetter}
\p{sb=Lower}
\p{blk=Greek}
\p{foo}
\p{}
\p{=}
\p{=Greek}
\p{sc=}
\p
\p{
\p{Greek
\pé
\p\d
\p1
\p{Greek}{2}
a{1,3}b{2,5}
(ab){2,3}
(a|b){2}
(a?){3}
(a?){0,3}
(a*){2}
(a*){2,3}
(a*?){2,3}
(a+)?
(a+)+
(a??)*
(?:a?b??)*
(?:a|b?)+?c
(?:a?|b)*
(?:(?:a|)b?)*
(?:|a|b)*c
(?:a*|b)+
((a|b)*?c)*
(?:(?i)a)b
(?:a|(?i)b|c)d
(a(?i)b)c
[ab]{3}|[bc]{3}
a.c
a(?s:.)c
"[^"\\]*"
"([^"\\\x00-\x1F\x7F-\x9F]|\\["\\/bfnrt])*"
-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
(true|false|null)
\{"a":[ ]?"[a-z]*"\}
{"a"}
a{b}
a}
]
a]
a-b
a&&b
a~b
a#b
a/b
a"b
a b
a	b
x*y*z*
(x+x+)+y
(a|a)*
(a|aa)+
a(?:b|c|d){1,2}e
.{2}
.{2,3}
[^a]{2}
\w{2}
\d{1,3}\.\d{1,3}
[^\x00-\x7F]
[^a-zA-Z0-9é]
(?i)straße
(?i)İ
(?i)ı
(?i)ﬀ
(?i)Σσς
(?i)\u1E9E
(?i)[\x00-\x7F]
(?i)[^\x00-\x7F]
(?-u:a)é
(?u)é
(?u-u)é
(?-u)(?u)é
(?:\b|%)+
a(?:(?-u:\b)|%)+
z(?:(?-u:\b)|%)+
z(?:(?-u:\b)|%)*?x?
a(?:(?m:$)|\n)*b
a(?:(?m:$|^)\n?)+b
a\n*(?m:^)b
.*(?-u:\b)x.*
a(?m:$)*b
a(?:$)?b
a(?:$|b)
a(?:\z|b)c?
a(\z|)
a((?m:$)|\nc)
(?m:a$|a\nb)
(a\z)*
(?:a$)+
a(?-u:\b\b)
a$$
a$^
a\n(?m:^$)
a\n(?m:^$)\n
a[b&&c]
a[b&&c]|d
(?:[b&&c])?d
(?:[b&&c])*
[b&&c]{0}
[b&&c]{0,2}
"""
ODD = [
    "",
    "\\\n",
    "a\nb",
    "\x00",
    "[\x00-\x1f]",
    "[a-z&&\n]",
    "(?x) a # comment\nb",
    "(?x)[ a b # c\n ]",
    "(?x)[a # x\n - c]",
    "(?x)[a # \n - c]",
    "(?x)a\n b\t\u2028c\u00a0d",
    "(?x)a{2} # c\n?",
    *(f"{'(' * n}a{')' * n}" for n in (249, 250, 251, 10_000)),
    *(f"{'(' * n}ab{')' * n}" for n in (249, 250)),
    *(f"{'[' * n}a{']' * n}" for n in (249, 250, 251)),
    *(f"{'[' * n}ab{']' * n}" for n in (249, 250)),
    *(f"{'[' * n}a&&b{']' * n}" for n in (124, 248, 249)),
    *(f"{'[' * n}ab&&c{']' * n}" for n in (247, 248)),
    *(f"{'(a|b' * n}{')' * n}" for n in (83, 84, 125)),
    *(f"{'(?:ab' * n}{')' * n}" for n in (125, 126)),
    *(f"(?i){'(' * n}a{')' * n}" for n in (248, 249, 250)),
    *("a" + "*" * n for n in (250, 251)),
    *("a" + "?" * n for n in (499, 500, 502)),
    "(?i)" * 300 + "a",
    "(" * 10_000,
    "[" * 10_000,
]


def dialect() -> list[str]:
    return [line for line in DIALECT.split("\n") if line] + ODD
