"""READMEs of strangers: they are read, and nothing else."""

from __future__ import annotations

import re

import pytest

from registryui import markdown

WORDS = [
    ("# Title\n\n## Run", "<h3>Title</h3>\n<h4>Run</h4>"),
    ("*a* **b** `c` ~~d~~", "<p><em>a</em> <strong>b</strong> <code>c</code> <s>d</s></p>"),
    ("|a|b|\n|-|-|\n|1|2|", "<table>\n<thead>\n<tr>\n<th>a</th>"),
    ("```yaml\na: <b>\n```", "<pre><code>a: &lt;b&gt;\n</code></pre>"),
    (
        "[docs](https://a.example.com/)",
        '<a href="https://a.example.com/" rel="noopener nofollow">docs</a>',
    ),
    ("[![build](https://ci/b.svg)](https://ci/)", ">build</a>"),
    ("![logo & co](https://evil/x.png)", "<p>logo &amp; co</p>"),
    ("[a](docs/a.md) [b](#run) [c](/delete)", "<p><a rel="),
    (
        "<details><summary>More</summary>text</details>",
        "<details><summary>More</summary>text</details>",
    ),
    ("<p align=center>x</p>", "<p>x</p>"),
    ("1. a\n", "<ol>\n<li>a</li>\n</ol>"),
]


@pytest.mark.parametrize(("text", "made"), WORDS)
def test_what_a_readme_says_is_shown(text: str, made: str) -> None:
    assert made in markdown.html(text)


HOSTILE = [
    "<script>alert(1)</script>after",
    "<style>*{display:none}</style>after",
    "<img src=x onerror=alert(1)>after",
    "![x](https://evil/x.png)after",
    "<a href='javascript:alert(1)'>a</a>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt&colon;alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](/delete) [b](../x) [c](//evil/)",
    "<a href='https://a/' onclick=alert(1) style='position:fixed' class=button>a</a>",
    "<form action=/logout method=post><button>OK</button><input name=q></form>",
    "<iframe src=https://evil/></iframe><object data=x></object><embed src=x>",
    "<svg><use href=#mark></svg><math><mi>x</mi></math>",
    "<div hx-get=/x hx-trigger=load data-copy=x>a</div>",
    "</article></main></body><base href=https://evil/><meta http-equiv=refresh content=0>",
    "<h1>Sign in</h1><textarea></article><b>x",
    "<dialog open>x</dialog><template><b>y</b></template>",
    "<!--><script>x</script>-->",
]
ALLOWED = re.compile(
    r"</?(?:a|b|blockquote|br|code|d[dlt]|del|details|div|em|h[3-6]|hr|i|kbd|li|ol|p|pre|s|samp|strong|"
    r"su[bp]|summary|table|tbody|td|th|thead|tr|ul)(?: (?:href=\"(?:https?://|mailto:)[^\"<>]*\"|"
    r"rel=\"noopener nofollow\"|start=\"\d+\"))*>"
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_else_comes_out(text: str) -> None:
    made = markdown.html(text)
    rest = ALLOWED.sub("", made)
    assert "<" not in rest
    assert ">" not in rest
    assert "alert(1)" not in "".join(re.findall(r"<[^>]*>", made))


def test_a_long_text_is_cut() -> None:
    assert len(markdown.html("a" * (markdown.LIMIT + 5000))) <= markdown.LIMIT + 20
