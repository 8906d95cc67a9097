"""HTML from nested calls: nothing that was text becomes markup."""

from __future__ import annotations

from edgestill.report.html.markup import Markup, tag, together


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b & c", tag("b", "x"), None, ["d", ["e"]]) == (
        "<p>a &lt; b &amp; c<b>x</b>de</p>"
    )
    assert isinstance(together("<", tag("br")), Markup)


def test_attributes_are_escaped_and_named_as_html_has_them() -> None:
    assert tag("i", class_="a", aria_label='"x" <y>', stroke_width=1.5, hidden=None) == (
        '<i class="a" aria-label="&quot;x&quot; &lt;y&gt;" stroke-width="1.5"></i>'
    )
    assert tag("line", x1=10.0, x2=1 / 3) == '<line x1="10" x2="0.33"></line>'
    assert tag("meta", name="a", charset="utf-8") == '<meta name="a" charset="utf-8">'


def test_characters_that_html_forbids_are_shown() -> None:
    assert tag("p", "a\x00\x1b\ud800", title="\x07") == '<p title="\\x07">a\\x00\\x1b\\ud800</p>'


def test_text_made_of_markup_is_text_again() -> None:
    # Whatever is done with it, a str is escaped: only `tag` and `together` make markup.
    joined = tag("b", "x") + " & <i>"
    assert tag("p", joined) == "<p>&lt;b&gt;x&lt;/b&gt; &amp; &lt;i&gt;</p>"
