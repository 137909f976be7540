"""Plain Python expressions on published figures: computed, and shown with the figures put in. No numpy.

Names are figures (`heads.kl_1_5b`), labels pick from a table (`hubs.kl["L2"]`), + - * / ** work on numbers and, label
by label, on tables; FUNCTIONS are all that can be called. Nothing else of Python is understood.
"""

from __future__ import annotations

import ast
import math
import operator
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.published import Quantity, UnknownFigure, Value

Result = Value | str | tuple[str, ...]
"""A number, numbers, a label or labels in an order."""

_SHOWN = 6
"""Tables and lists of more entries are abbreviated."""
_ATOM = 9


class BadExpression(ValueError):
    """An expression that cannot be computed: what is wrong, in which one."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """A part of an expression: its value, the text with figures put in, and how tightly the text binds."""

    value: Result
    text: str
    binds: int = _ATOM
    short: str = ""
    """The text within a longer expression, where that is another one."""


_OPERATORS: Mapping[type[ast.operator], tuple[str, int, Callable[[float, float], float]]] = {
    ast.Add: ("+", 1, operator.add),
    ast.Sub: ("-", 1, operator.sub),
    ast.Mult: ("*", 2, operator.mul),
    ast.Div: ("/", 2, operator.truediv),
    ast.Pow: ("**", 4, operator.pow),
}


def names_in(expression: str) -> tuple[str, ...]:
    """The figures an expression names, each once. Raises BadExpression where it is not Python."""
    found = [_dotted(node) for node in ast.walk(_parse(expression)) if isinstance(node, ast.Attribute)]
    return tuple(dict.fromkeys(found))


def compute(expression: str, figures: Mapping[str, Quantity]) -> Term:
    """The value and the text of an expression. Raises UnknownFigure, and BadExpression for all else."""
    try:
        return _term(_parse(expression), figures)
    except BadExpression as error:
        raise BadExpression(f"{expression!r}: {error}") from None
    except ZeroDivisionError:
        raise BadExpression(f"{expression!r}: divides by zero") from None


def number_text(value: float) -> str:
    """Six significant digits; whole numbers in full: 344064, 1.0234, 1e-06."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _parse(expression: str) -> ast.expr:
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except SyntaxError as error:
        raise BadExpression(f"{expression!r} is no Python expression: {error.msg}") from None


def _dotted(node: ast.Attribute) -> str:
    if not isinstance(node.value, ast.Name):
        raise BadExpression(f"{ast.unparse(node)!r}: a figure is called file.name")
    return f"{node.value.id}.{node.attr}"


def _term(node: ast.expr, figures: Mapping[str, Quantity]) -> Term:
    match node:
        case ast.Attribute():
            name = _dotted(node)
            if name not in figures:
                raise UnknownFigure(name, figures)
            return _shown(figures[name].value)
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _shown(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _negative(_term(operand, figures))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _combined(_term(left, figures), type(op), _term(right, figures))
        case ast.Subscript(value=inside, slice=ast.Constant(value=str() as label)):
            table = _term(inside, figures).value
            if not isinstance(table, Mapping) or label not in table:
                raise BadExpression(f"{ast.unparse(inside)} has no {label!r}")
            return _shown(table[label])
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return _called(name, [_term(arg, figures) for arg in args])
    raise BadExpression(f"{ast.unparse(node)!r} is not understood; functions: {', '.join(FUNCTIONS)}")


def _combined(left: Term, op: type[ast.operator], right: Term) -> Term:
    sign, binds, do = _OPERATORS[op]
    tables = [term.value for term in (left, right) if isinstance(term.value, Mapping)]
    if tables:
        if set(tables[0]) != set(tables[-1]):
            raise BadExpression(
                f"tables of different labels: {', '.join(tables[0])} and {', '.join(tables[-1])}"
            )
        return _shown(
            {label: do(_entry(left, label, sign), _entry(right, label, sign)) for label in tables[0]}
        )
    value = do(_number(left, sign), _number(right, sign))
    # a - b - c is (a - b) - c, and a ** b ** c is a ** (b ** c)
    first, second = binds, binds + (sign in "-/")
    if op is ast.Pow:
        first = binds + 1
    return Term(
        value=value, text=f"{_in_brackets(left, first)} {sign} {_in_brackets(right, second)}", binds=binds
    )


def _negative(term: Term) -> Term:
    if isinstance(term.value, Mapping):
        return _shown({label: -value for label, value in term.value.items()})
    return Term(value=-_number(term, "-"), text=f"-{_in_brackets(term, 3)}", binds=3)


def _entry(term: Term, label: str, sign: str) -> float:
    """The entry of a table, or the number that is combined with every entry."""
    return term.value[label] if isinstance(term.value, Mapping) else _number(term, sign)


def _called(name: str, terms: list[Term]) -> Term:
    try:
        value = FUNCTIONS[name](*(term.value for term in terms))
    except (TypeError, ValueError, statistics.StatisticsError) as error:
        raise BadExpression(f"{name}: {error}") from None
    least = name in ("min", "bottom")
    shown = [_shown(t.value, least=least).text if isinstance(t.value, Mapping) else t.text for t in terms]
    short = number_text(value) if name in ("min", "max") and isinstance(value, int | float) else ""
    return Term(value=value, text=f"{name}({', '.join(shown)})", short=short)


def _number(term: Term, sign: str) -> float:
    if isinstance(term.value, int | float):
        return term.value
    raise BadExpression(f"{sign} is for numbers and tables, and {term.text} is neither")


def _in_brackets(term: Term, binds: int) -> str:
    if term.short:
        return term.short if not term.short.startswith("-") or binds <= 2 else f"({term.short})"
    return term.text if term.binds >= binds else f"({term.text})"


def _shown(value: Value, *, least: bool = False) -> Term:
    """A figure as it is shown; of a long table the three largest entries, or the three smallest."""
    if isinstance(value, Mapping):
        entries = [f"{label}: {number_text(number)}" for label, number in value.items()]
        if len(entries) > _SHOWN:
            first = ranked(value)[:-4:-1] if least else ranked(value, 3)
            entries = [f"{label}: {number_text(value[label])}" for label in first] + [f"... of {len(value)}"]
        return Term(value=value, text="{" + ", ".join(entries) + "}")
    if isinstance(value, tuple):
        numbers = [number_text(number) for number in value]
        if len(numbers) > _SHOWN:
            numbers = [*numbers[:2], f"... {len(value)} in all ...", numbers[-1]]
        return Term(value=value, text="[" + ", ".join(numbers) + "]")
    return Term(value=value, text=number_text(value), binds=_ATOM if value >= 0 else 3)


# What can be called


def ranked(table: object, first: object = None) -> tuple[str, ...]:
    """Labels by falling value, ties in the table's order; only the `first` so many where given."""
    labels = sorted(_table(table), key=lambda label: -_table(table)[label])
    if first is None:
        return tuple(labels)
    if not isinstance(first, int) or not 0 < first <= len(labels):
        raise ValueError(f"has {len(labels)} labels, not {first}")
    return tuple(labels[:first])


def _top(table: object) -> str:
    return ranked(table, 1)[0]


def _bottom(table: object) -> str:
    return ranked(table)[-1]


def _numbers(value: object) -> list[float]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, tuple):
        return [float(number) for number in value]
    raise ValueError("is for a list or a table")


def _table(value: object) -> Mapping[str, float]:
    if isinstance(value, Mapping):
        return value
    raise ValueError("is for numbers by label")


def _of_both(x: object, y: object) -> tuple[list[float], list[float]]:
    """Two columns in one order: tables by label, lists by place."""
    if isinstance(x, Mapping) and isinstance(y, Mapping):
        if set(x) != set(y):
            raise ValueError("the two tables have different labels")
        return [x[label] for label in x], [y[label] for label in x]
    return _numbers(x), _numbers(y)


def _pearson(x: object, y: object) -> float:
    return statistics.correlation(*_of_both(x, y))


def _spearman(x: object, y: object) -> float:
    xs, ys = _of_both(x, y)
    return statistics.correlation(_ranks(xs), _ranks(ys))


def _ranks(values: list[float]) -> list[float]:
    """1 for the smallest; ties share the mean of their places."""
    places = sorted(values)
    return [places.index(v) + (places.count(v) + 1) / 2 for v in values]


def _exponent(x: object, y: object) -> float:
    """The slope of log y against log x: y grows as x to this power."""
    xs, ys = _of_both(x, y)
    return statistics.linear_regression([math.log(v) for v in xs], [math.log(v) for v in ys]).slope


def _count(value: object, number: object) -> int:
    return sum(v == number for v in _numbers(value))


def _largest(*values: object) -> float:
    return max(_flat(values))


def _smallest(*values: object) -> float:
    return min(_flat(values))


def _flat(values: tuple[object, ...]) -> list[float]:
    return [v for value in values for v in ([value] if isinstance(value, int | float) else _numbers(value))]


FUNCTIONS: Mapping[str, Callable[..., Result]] = {
    "sum": lambda values: sum(_numbers(values)),
    "mean": lambda values: statistics.fmean(_numbers(values)),
    "max": _largest,
    "min": _smallest,
    "len": lambda values: len(_numbers(values)),
    "count": _count,
    "distinct": lambda values: len(set(_numbers(values))),
    "abs": lambda value: abs(value),
    "sqrt": lambda value: math.sqrt(value),
    "pearson": _pearson,
    "spearman": _spearman,
    "exponent": _exponent,
    "top": _top,
    "bottom": _bottom,
    "ranked": ranked,
}
"""`count(values, n)`: how many are n; `distinct`: how many different ones; `exponent(x, y)`: y grows as x to that
power; `top`, `bottom` and `ranked` give labels."""
