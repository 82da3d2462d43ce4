"""One self-contained HTML page: no script, no font, no address outside the file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
:root { --paper:#fcfcfa; --ink:#1c1f24; --soft:#6b7280; --rule:#e2e2dc; --c0:#3563a8; --c1:#d97b29; --c2:#4c9a5f;
  --c3:#a8485c; --c4:#7a63ab; --c5:#8c7a3d; --c6:#3f9aa3; --c7:#9c9c9c; }
@media (prefers-color-scheme: dark) { :root { --paper:#16181c; --ink:#e6e6e3; --soft:#9aa1ab; --rule:#2c3037;
  --c0:#7aa5e8; --c1:#eaa05c; --c2:#7cc48d; --c3:#dd8496; --c4:#ac98da; --c5:#c3b06d; --c6:#72c6cf; } }
* { box-sizing:border-box }
body { margin:0 auto; padding:2rem 1.2rem 4rem; max-width:60rem; background:var(--paper); color:var(--ink);
  font:16px/1.5 system-ui, sans-serif }
h1 { font-size:1.6rem; margin:0 0 .2rem } h2 { font-size:1.15rem; margin:2.2rem 0 .6rem }
p.lead { color:var(--soft); margin:.2rem 0 1rem }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; font-size:.95rem }
th,td { text-align:right; padding:.32rem .6rem; border-bottom:1px solid var(--rule) }
th:first-child,td:first-child { text-align:left } th { color:var(--soft); font-weight:500 }
tr.part td:first-child { padding-left:1.6rem; color:var(--soft) }
pre { white-space:pre-wrap; background:color-mix(in srgb, var(--ink) 6%, transparent); padding:.9rem 1.1rem;
  border-radius:.4rem; font-size:.9rem } figure { margin:1rem 0 } figcaption { color:var(--soft); font-size:.95rem }
svg { width:100%; height:auto; display:block } svg text { fill:var(--ink); font:12px system-ui, sans-serif }
svg .tick { fill:var(--soft) } svg .grid { stroke:var(--rule) }
svg .line { fill:none; stroke-width:1.8 } svg .limit { stroke:var(--c3); stroke-width:2; stroke-dasharray:4 3 }
"""
_COLOURS = "".join(
    f"svg .line.c{i} {{ stroke:var(--c{i}) }} svg .fill.c{i},svg .dot.c{i} {{ fill:var(--c{i}) }}\n" for i in range(8)
)


def page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page from (heading, HTML) sections; empty sections are left out."""
    body = "".join(f"<section><h2>{escape(name)}</h2>{html}</section>" for name, html in sections if html)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}{_COLOURS}</style></head>'
        f'<body><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>{body}</body></html>\n'
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], parts: frozenset[int] = frozenset()) -> str:
    """A table of text; rows whose index is in ``parts`` are set in as parts of the row above."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = ""
    for index, row in enumerate(rows):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines += f'<tr class="part">{cells}</tr>' if index in parts else f"<tr>{cells}</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def paragraphs(lines: Sequence[str]) -> str:
    """Sentences, one paragraph each."""
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def preformatted(text: str) -> str:
    """Text kept as it is."""
    return f"<pre>{escape(text)}</pre>" if text else ""
