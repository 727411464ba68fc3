"""Writes the C++ side of the table of rules: `generate.py OUTPUT_FOLDER` makes rules.h and table.h there.

`python/fastopt/rules.py` is the one place for a rule's hyperparameters, slots, variants and derived
scalars.  The build runs this script, which needs nothing but the standard library.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

SOURCE = Path(__file__).resolve().parent.parent / "python" / "fastopt" / "rules.py"
BANNER = "// Made by csrc/generate.py from python/fastopt/rules.py; change those.\n"


def load_rules() -> ModuleType:
    """rules.py by its path: the package around it needs the extension that is being built."""
    spec = importlib.util.spec_from_file_location("rules", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["rules"] = module
    spec.loader.exec_module(module)
    return module


def arithmetics(rules: dict[str, Any]) -> list[Any]:
    """A row for each arithmetic; rows that share one must agree on all that C++ sees."""
    first: dict[str, Any] = {}
    for rule in rules.values():
        known = first.setdefault(rule.arithmetic, rule)
        seen = ("own", "scalars", "variants", "slots")
        assert all(getattr(rule, name) == getattr(known, name) for name in seen), f"{rule.name} and {known.name} differ"
    return list(first.values())


def cpp(expression: str, rule: Any) -> str:
    """An expression of the table in C++: choices become their codes, whole numbers become doubles."""

    def code(match: re.Match[str]) -> str:
        value = {"True": True, "False": False}.get(match[2], match[2].strip('"'))
        choices = next(h for h in rule.arguments if h.name == match[1]).choices
        return f"{match[1]} == {choices.index(value)}"

    expression = re.sub(r'(\w+) == ("\w+"|True|False)', code, expression)
    return re.sub(r"(?<![\w.])(\d+)(?![\w.])", r"\1.0", expression)


def rules_header(rules: list[Any]) -> str:
    """For the kernels: the scalars of each arithmetic as values of V, the arithmetics, and the list of all variants."""
    out = [BANNER]
    for rule in rules:
        names = list(rule.scalars)
        fill = ", ".join(f"{name}(V::broadcast(d[{i}]))" for i, name in enumerate(names))
        out.append(f"template <class V>\nstruct {rule.arithmetic}_scalars {{\n  V {', '.join(names)};")
        out.append(f"  explicit {rule.arithmetic}_scalars(const double* d) : {fill} {{}}\n}};\n")
    out += [f'#include "rules/{rule.arithmetic}.h"' for rule in rules] + [""]
    entries = [f"X({r.arithmetic}, {v.name}, {len(v.slots)})" for r in rules for v in r.variants]
    out.append("#define FASTOPT_VARIANTS(X) \\\n  " + " \\\n  ".join(entries) + "\n")
    return "\n".join(out)


def strings(name: str, values: list[str]) -> str:
    quoted = ", ".join(f'"{value}"' for value in values)
    return f"static const char* const {name}[] = {{{quoted}}};" if values else ""


def rule_functions(rule: Any) -> str:
    """Locals for the hyperparameters, then the derived scalars and the choice of a variant."""
    parts = [part for h in rule.own for part in h.scalars]
    known = ["  [[maybe_unused]] const double lr = group.lr;"]
    known += [f"  [[maybe_unused]] const double {p} = group.hyperparameters[{i}];" for i, p in enumerate(parts)]
    derived = []
    for i, (name, expression) in enumerate(rule.scalars.items()):
        derived.append(f"  const double {name} = {cpp(expression, rule)};\n  out[{i}] = {name};")
    choice = "".join(f"({cpp(v.when, rule)}) ? {i} : " for i, v in enumerate(rule.variants[:-1]))
    a = rule.arithmetic
    return "\n".join(
        [f"static void derive_{a}(const fastopt_group& group, [[maybe_unused]] int64_t t, double* out) {{", *known, *derived, "}"]
        + [f"static int32_t variant_{a}([[maybe_unused]] const fastopt_group& group) {{", *known]
        + [f"  return {choice}{len(rule.variants) - 1};", "}"]
    )


def table_header(rules: list[Any]) -> str:
    """What step.cpp knows of each arithmetic: names for the outside, derivation, choice of variant."""
    out, rows, first = [BANNER], [], 0
    for rule in rules:
        a = rule.arithmetic
        parts = [part for h in rule.own for part in h.scalars]
        out += [strings(f"{a}_hyperparameters", parts), strings(f"{a}_scalars", list(rule.scalars))]
        out += [strings(f"{a}_slots_{v.name}", list(v.slots)) for v in rule.variants]
        variants = []
        for v in rule.variants:
            slots = f"{a}_slots_{v.name}" if v.slots else "nullptr"
            variants.append(f'{{"{v.name}", {len(v.slots)}, {slots}}}')
        out += [f"static const fastopt_variant {a}_variants[] = {{{', '.join(variants)}}};", rule_functions(rule), ""]
        own = f"{a}_hyperparameters" if parts else "nullptr"
        info = f'"{a}", {len(parts)}, {own}, {len(rule.scalars)}, {a}_scalars'
        rows.append(f"  {{{{{info}, {len(rule.variants)}, {a}_variants}}, derive_{a}, variant_{a}, {first}}},")
        first += len(rule.variants)
    out += [f"static_assert({len(rule.scalars)} <= kMaxScalars);" for rule in rules]
    out += [f"static_assert({len(rule.codes(rule.defaults))} <= FASTOPT_MAX_HYPERPARAMETERS);" for rule in rules]
    out.append("static const RuleRow kRules[] = {\n" + "\n".join(rows) + "\n};\n")
    return "\n".join(out)


def main(folder: str) -> None:
    rules = arithmetics(load_rules().RULES)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / "rules.h").write_text(rules_header(rules))
    (target / "table.h").write_text(table_header(rules))


if __name__ == "__main__":
    main(sys.argv[1])
