"""Fail when a file or a function outgrows its budget (STYLE: file 400 lines, function body 40, nesting 3).

A function's body is counted without its docstring. Complexity and arguments are ruff's (C901, PLR0913).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 400
BODY_LINES = 40
NESTING = 3
BLOCKS = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, docstring left out."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def depth(node: ast.AST, level: int = 0) -> int:
    """Deepest nesting of blocks below node; an elif is no deeper than its if."""
    deepest = level
    for name, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for child in children:
            if not isinstance(child, ast.AST) or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            is_elif = name == "orelse" and isinstance(child, ast.If) and len(children) == 1
            deepest = max(deepest, depth(child, level + (isinstance(child, BLOCKS) and not is_elif)))
    return deepest


def problems(path: Path) -> Iterator[str]:
    """What in this file is over budget."""
    text = path.read_text()
    n_lines = text.count("\n")
    if n_lines > FILE_LINES:
        yield f"{path}: {n_lines} lines, budget {FILE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (n_body := body_lines(node)) > BODY_LINES:
            yield f"{path}:{node.lineno}: {node.name} has {n_body} lines, budget {BODY_LINES}"
        if (n_deep := depth(node)) > NESTING:
            yield f"{path}:{node.lineno}: {node.name} nests {n_deep} deep, budget {NESTING}"


def main() -> int:
    """Check the product's own code."""
    found = [line for path in sorted(Path("src").rglob("*.py")) for line in problems(path)]
    print("\n".join(found) if found else "budgets hold")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
