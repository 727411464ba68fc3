"""Writes the C++ side of the table of rules: `generate.py OUTPUT_FOLDER` makes rules.h, derived.h, table.h and headers.h there.

`python/fastopt/rules` is the one place for a rule's hyperparameters, slots, variants and derived scalars.  The build runs this
script, which needs nothing but the standard library.  `generate.py OUTPUT_FOLDER ROW.py` adds the `RULE` of another file to the
table, for tests.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

KINDS = ("signed", "non-negative", "parameter", "full")
"""The kinds of slots, in the order of fastopt_slot_kind."""

ROOT = Path(__file__).resolve().parent
INCLUDE = ROOT.parent / "include"
SOURCE = ROOT.parent / "python" / "fastopt" / "rules"
BANNER = "// Made by csrc/generate.py from python/fastopt/rules; change those.\n"


def load(name: str, path: Path) -> ModuleType:
    """A module by its path: the package around the rules needs the extension that is being built."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def arithmetics(rules: dict[str, Any]) -> list[Any]:
    """One row for each arithmetic; rows that share an arithmetic must agree on all that C++ sees."""
    first: dict[str, Any] = {}
    for rule in rules.values():
        known = first.setdefault(rule.arithmetic, rule)
        seen = ("own", "scalars", "variants", "slots", "running", "factor")
        assert all(getattr(rule, name) == getattr(known, name) for name in seen), f"{rule.name} and {known.name} differ"
    return list(first.values())


def cpp(expression: str, rule: Any) -> str:
    """An expression of the table in C++: choices become their codes, whole numbers become doubles."""

    def code(match: re.Match[str]) -> str:
        value = {"True": True, "False": False}.get(match[2], match[2].strip('"'))
        choices = next(h for h in rule.arguments if h.name == match[1]).choices
        return f"{match[1]} == {choices.index(value)}"

    expression = re.sub(r'(\w+) == ("[^"]+"|True|False)', code, expression)
    return re.sub(r"(?<![\w.])(\d+)(?![\w.])", r"\1.0", expression)


def rules_header(rules: list[Any]) -> str:
    """The header for the kernels: the arithmetics, the scalars of each as values of V, and the list of all variants."""
    out = [BANNER + "#pragma once", *[f'#include "rules/{rule.arithmetic}.h"' for rule in rules]]
    out += ["\nnamespace fastopt::FASTOPT_ISA {\n"]
    for rule in rules:
        names = [*rule.scalars, *(["factor"] if rule.factor else [])]
        fill = ", ".join(f"{name}(V::broadcast(d[{i}]))" for i, name in enumerate(names))
        out.append(f"template <class V> struct Scalars<{rule.arithmetic}, V> {{\n  V {', '.join(names)};")
        out.append(f"  static constexpr bool has_factor = {str(bool(rule.factor)).lower()};")
        out.append(f"  FASTOPT_INLINE explicit Scalars(const double* d) : {fill} {{}}\n}};\n")
    out += ["}  // namespace fastopt::FASTOPT_ISA\n"]
    entries = [f"X({r.arithmetic}, {v.name}, {len(v.slots)}, {mask(r, v)})" for r in rules for v in r.variants]
    out.append("#define FASTOPT_VARIANTS(X) \\\n  " + " \\\n  ".join(entries) + "\n")
    return "\n".join(out)


def mask(rule: Any, variant: Any) -> int:
    """Bit k is set if the variant's slot k is non-negative."""
    return sum(1 << k for k, name in enumerate(variant.slots) if rule.slot(name).kind == "non-negative")


class Lists:
    """Static arrays, each with its declaration; an empty one is a null pointer."""

    def __init__(self, rule: Any) -> None:
        self.prefix = rule.arithmetic
        self.declarations: list[str] = []

    def add(self, name: str, kind: str, values: list[str]) -> str:
        """Declare an array of the values; returns the C++ for their count and a pointer to them."""
        if values:
            self.declarations.append(f"static const {kind} {self.prefix}_{name}[] = {{{', '.join(values)}}};")
        return f"{len(values)}, {f'{self.prefix}_{name}' if values else 'nullptr'}"

    def pointer(self, name: str, values: list[int]) -> str:
        """Declare an array of the values; returns the C++ for the pointer alone."""
        return self.numbers(name, values).split(", ")[1]

    def strings(self, name: str, values: Iterable[str]) -> str:
        return self.add(name, "char* const", [f'"{value}"' for value in values])

    def numbers(self, name: str, values: Iterable[int]) -> str:
        return self.add(name, "int32_t", [str(value) for value in values])


def derived_header(rules: list[Any]) -> str:
    """The functions that derive each arithmetic's scalars, for the host and for a GPU."""
    begin = f'{BANNER}#pragma once\n#include <stdint.h>\n\n#include "fastopt.h"\n#include "step/derive.h"\n\nnamespace fastopt {{'
    return "\n\n".join([begin, *map(derivation, rules), "}  // namespace fastopt"]) + "\n"


def derivation(rule: Any) -> str:
    running = rule.carried
    carried = [f"  double {name} = running[{i}];" for i, name in enumerate(running)]
    derived = []
    for i, (name, expression) in enumerate(rule.scalars.items()):
        new = "" if name in running else "const double "
        derived.append(f"  {new}{name} = {cpp(expression, rule)};\n  out[{i}] = {name};")
    carried_on = [f"  running[{i}] = {name};" for i, name in enumerate(running)]
    arguments = "const fastopt_group& group, [[maybe_unused]] int64_t t, [[maybe_unused]] double* running, double* out"
    head = f"FASTOPT_PORTABLE void derive_{rule.arithmetic}({arguments}) {{"
    return "\n".join([head, *known(rule), *carried, *derived, *carried_on, "}"])


def factor(rule: Any) -> str:
    """The function that gives a tensor's factor from its norms, for a rule that has one."""
    scalars = [f"  [[maybe_unused]] const double {name} = scalars[{i}];" for i, name in enumerate(rule.scalars)]
    arguments = "const fastopt_group& group, const double* scalars, double param_norm, double direction_norm"
    head = f"static double factor_{rule.arithmetic}({arguments}) {{"
    return "\n".join([head, *known(rule), *scalars, f"  return {cpp(rule.factor, rule)};", "}"])


def known(rule: Any) -> list[str]:
    """Locals for the hyperparameters."""
    parts = [part for h in rule.own for part in h.scalars]
    local = [f"  [[maybe_unused]] const double {p} = group.hyperparameters[{i}];" for i, p in enumerate(parts)]
    return ["  [[maybe_unused]] const double lr = group.lr;", *local]


def choice(rule: Any) -> str:
    """The function that chooses a variant."""
    chosen = "".join(f"({cpp(v.when, rule)}) ? {i} : " for i, v in enumerate(rule.variants[:-1]))
    head = f"static int32_t variant_{rule.arithmetic}([[maybe_unused]] const fastopt_group& group) {{"
    return "\n".join([head, *known(rule), f"  return {chosen}{len(rule.variants) - 1};", "}"])


def table_header(rules: list[Any]) -> str:
    """The door's table: for each arithmetic, names for the outside and the choice of a variant; derivations are in derived.h."""
    out, rows, first = [BANNER], [], 0
    for rule in rules:
        a, lists = rule.arithmetic, Lists(rule)
        slots = [slot.name for slot in rule.slots]
        hyperparameters = [part for h in rule.own for part in h.scalars]
        variants = []
        for v in rule.variants:
            assert list(v.slots) == [name for name in slots if name in v.slots], f"{rule.name}: slots out of order"
            variants.append(f'{{"{v.name}", {lists.numbers(f"slots_{v.name}", map(slots.index, v.slots))}}}')
        info = [
            f'"{a}"',
            lists.strings("hyperparameters", hyperparameters),
            lists.strings("slots", slots),
            lists.pointer("slot_kinds", [KINDS.index(slot.kind) for slot in rule.slots]),
            lists.strings("running", rule.carried),
            lists.strings("scalars", rule.scalars),
            lists.add("variants", "fastopt_variant", variants),
        ]
        out += [*lists.declarations, choice(rule), *([factor(rule)] if rule.factor else []), ""]
        its_factor = f"factor_{a}" if rule.factor else "nullptr"
        rows.append(f"  {{{{{', '.join(info)}}}, derive_{a}, variant_{a}, {its_factor}, {first}}},")
        first += len(rule.variants)
        counts = {"slots": slots, "running": rule.carried, "hyperparameters": hyperparameters, "scalars": rule.scalars}
        out += [limit(a, what, len(names)) for what, names in counts.items()] + [""]
    out += ["static const RuleRow kRules[] = {\n" + "\n".join(rows) + "\n};\n"]
    return "\n".join(out)


def limit(arithmetic: str, what: str, count: int) -> str:
    """A line that stops the compiler if a rule has more of something than include/fastopt.h leaves room for."""
    name = f"FASTOPT_MAX_{what.upper()}"
    return f'static_assert({count} <= {name}, "{arithmetic} has {count} {what}: raise {name} in include/fastopt.h");'


def headers(generated: dict[str, str]) -> str:
    """The sources of a GPU's kernels, compiled at their first use: the text of each header under its name in `#include`."""
    portable = [path for folder in ("codecs", "cuda", "rules", "step") for path in ROOT.glob(f"{folder}/*.h")]
    portable += [ROOT / "simd" / f"{name}.h" for name in ("common", "scalar", "scalar_words", "target", "vec")]
    texts = {"fastopt.h": (INCLUDE / "fastopt.h").read_text()}
    texts |= {str(path.relative_to(ROOT)): path.read_text() for path in sorted(portable)} | generated
    rows = [f'  {{"{name}", R"text({text})text"}},' for name, text in texts.items()]
    return "\n".join([BANNER, "static const char* const kHeaders[][2] = {", *rows, "};\n"])


def main(folder: str, *rows: str) -> None:
    known = dict(load("rules", SOURCE / "__init__.py").RULES)
    for row in rows:
        rule = load(Path(row).stem, Path(row)).RULE
        known[rule.name] = rule
    rules = arithmetics(known)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    generated = {"rules.h": rules_header(rules), "derived.h": derived_header(rules)}
    (target / "table.h").write_text(table_header(rules))
    for name, text in generated.items():
        (target / name).write_text(text)
    (target / "headers.h").write_text(headers(generated))


if __name__ == "__main__":
    main(*sys.argv[1:])
