"""Writes what follows from the tables of rules and of names: type stubs, the README's table, docs/rules.md, forms.md, names.md.

`python tools/generate.py` writes the files; with `--check` it fails if a file differs from what it would write.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastopt import AdamW
from fastopt._arrays.buffers import BFLOAT16
from fastopt._names.modules import CLASSES, ESTIMATOR_CLASSES, SCHEDULE_CLASSES
from fastopt._names.name import Table
from fastopt._names.optimizers import ATTRIBUTES, OPTIMIZERS, STEP
from fastopt._names.others import ESTIMATORS, MINIMIZE, PLATEAU, SCHEDULES
from fastopt._storage.formats import FORMAT_ARGUMENTS
from fastopt.faces import class_signature, function_signature, meaning
from fastopt.rules import OPTIONS, RULES, Hyperparameter, Rule
from fastopt.torch.arguments import FLAGS
from fastopt.torch.arguments import class_signature as torch_signature

ROOT = Path(__file__).resolve().parent.parent
MARK = "<!-- rules: made by tools/generate.py -->"
BYTES_MARK = "<!-- bytes: made by tools/generate.py -->"
OPTIONS_HEAD = """Options are stages that hold for all tensors of a step: arguments of each class and of `step`, and entries of `opt.options`.  With
the arguments above, the order is `grad_scale`, `skip_nonfinite`, `clip_value`, `max_norm`, `maximize`, `l1`, L2 `weight_decay`,
decoupled `weight_decay`, the rule, `ema_decay`, `copy_to`, `zero_grad`.
"""
FORMS_HEAD = """# Which call computes whose formula

Each class computes torch's formula by default; Lion, which torch does not have, computes the paper's.  The numbers in the calls
are the framework's defaults, or common ones.  `g` is the gradient, `m` and `v` the averages of gradient and squared gradient;
`b1`, `b2` are the betas, `bc1 = 1 - b1^t`, `bc2 = 1 - b2^t` with `t` from 1, `m^ = m/bc1`, `v^ = v/bc2`; `mu` is `momentum`.

Keras' `weight_decay` is decoupled on every optimizer: `weight_decay=wd, decoupled_weight_decay=True`.  Keras and optax compute
`1 - b^t` in float32 (at b = 0.999 a relative error of 1.3e-5), Keras on TensorFlow even for float64; fastopt derives it in float64.
The stages around the rule and their order are at the end of [rules.md](rules.md).
"""
NAMES_HEAD = """# What other frameworks call it

fastopt's names are torch's.  This page has the names of Keras, optax, scikit-learn, SciPy and textbooks that an argument may have
there, and what to write instead.  The errors know the table too:

```python
import numpy as np
import fastopt

p = np.ones(3, np.float32)
try:
    fastopt.AdamW(p, learning_rate=1e-3)
except TypeError as error:
    print(error)  # AdamW: got an unexpected keyword argument 'learning_rate'; ...; did you mean lr?
```

A rule in the last column says for which rule alone the row is.  Where defaults and formulas differ, [forms.md](forms.md) has the
call that computes the same; [rules.md](rules.md) has every argument.  [wrong_turns.py](../examples/wrong_turns.py) makes the
mistakes of newcomers and prints what fastopt answers.
"""


def annotation(name: str, rule: Rule) -> str:
    """The type of an argument, as a type checker should see it."""
    fixed = {"params": "Params", "param": "AnyArray", "grad": "AnyArray", "step": "int", "seed": "int"}
    fixed |= dict.fromkeys(("grads", "copy_to"), "Grads | None")
    if name in fixed:
        return fixed[name]
    if name in {*(slot.name for slot in rule.slots), *rule.carried}:
        return "AnyArray | None"
    h = next(h for h in rule.arguments + OPTIONS + FORMAT_ARGUMENTS if h.name == name)
    if h.choices:
        kinds = ["bool"] if True in h.choices else []
        none = ["None"] if None in h.choices else []
        words = [repr(c).replace("'", '"') for c in h.choices if isinstance(c, str)]
        return " | ".join(kinds + ([f"Literal[{', '.join(words)}]"] if words else []) + none)
    if h.components:
        return f"tuple[{', '.join('float' for _ in h.components)}]"
    if h.optional:
        return "float | None"
    return "float | _Schedule" if name == "lr" else "float"


def arguments(
    signature: inspect.Signature, rule: Rule, first: tuple[str, ...] = (), typed: Callable[[str, Rule], str] = annotation
) -> str:
    """A parameter list for a stub, one argument a line."""
    lines, starred = list(first), False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            lines.append("*")
            starred = True
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}".replace("'", '"')
        lines.append(f"{parameter.name}: {typed(parameter.name, rule)}{default}")
    return ",\n".join(lines)


def stub(doc: str, imports: str, public: list[str], bodies: list[str]) -> str:
    names = "".join(f'    "{name}",\n' for name in sorted(public))
    return f'"""{doc}  Made by tools/generate.py."""\n\n{imports}\n\n__all__ = [\n{names}]\n\n' + "\n".join(bodies)


def indent(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in text.split("\n"))


def class_stub() -> str:
    bodies = []
    for rule in RULES.values():
        inside = indent(arguments(class_signature(rule), rule, ("self",)), 8)
        bodies.append(
            f'class {rule.name}(Optimizer):\n    """{rule.summary}"""\n\n    def __init__(\n{inside},\n    ) -> None: ...\n'
        )
    imports = (
        "from collections.abc import Callable\nfrom typing import Literal, TypeAlias\n\n"
        "from ._arrays.typed import Grads, Params\nfrom .optimizer import Optimizer\n\n"
        "_Schedule: TypeAlias = Callable[[int], float]"
    )
    return stub("The optimizer classes, one for each row of the table of rules.", imports, list(RULES), bodies)


def function_stub() -> str:
    bodies = []
    for rule in RULES.values():
        inside = indent(arguments(function_signature(rule), rule), 4).replace("float | _Schedule", "float")
        bodies.append(f"def {rule.name.lower()}(\n{inside},\n) -> None: ...")
    return (
        stub(
            "The bare kernels as functions, one for each rule.",
            "from typing import Literal\n\nfrom ._arrays.typed import AnyArray",
            [name.lower() for name in RULES],
            bodies,
        )
        + "\n"
    )


def torch_annotation(name: str, rule: Rule) -> str:
    """The type of an argument of torch's class."""
    fixed = {"params": "ParamsT", "copy_to": "Tensor | Sequence[Tensor | None] | None"}
    if name in FLAGS:
        return "bool | None" if FLAGS[name] is None else "bool"
    if name in fixed:
        return fixed[name]
    number = "float | Tensor"
    own = annotation(name, rule).replace("float | _Schedule", number)
    return number if name == "weight_decay" else own.replace("tuple[float, float]", f"tuple[{number}, {number}]")


def torch_stub() -> str:
    bodies = []
    for rule in RULES.values():
        inside = indent(arguments(torch_signature(rule), rule, ("self",), torch_annotation), 8)
        bodies.append(
            f'class {rule.name}(Optimizer):\n    """{rule.summary}"""\n\n    def __init__(\n{inside},\n    ) -> None: ...\n'
        )
    imports = (
        "from collections.abc import Sequence\nfrom typing import Literal\n\nfrom torch import Tensor\n"
        "from torch.optim.optimizer import ParamsT\n\nfrom .optimizer import Optimizer"
    )
    return stub("The classes for torch, one for each row of the table of rules.", imports, list(RULES), bodies)


def short_table() -> str:
    """Rules, arguments, state and traffic for the README."""
    rows = [
        "| class | arguments beside `lr`, `weight_decay` | state | bytes a float32 parameter | source |",
        "|---|---|---|---|---|",
    ]
    for rule in RULES.values():
        names = [
            h.name
            for h in rule.hyperparameters + rule.keyword_only
            if h.name not in ("lr", "weight_decay", "decoupled_weight_decay")
        ]
        slots = sorted({len(v.slots) for v in rule.variants})
        size = " / ".join(str(12 + 8 * n) for n in slots)
        state = ", ".join(f"`{slot.name}`" for slot in rule.slots)
        rows.append(f"| `{rule.name}` | {', '.join(f'`{n}`' for n in names)} | {state} | {size} | {rule.paper} |")
    return "\n".join(rows)


def describe(h: Hyperparameter) -> str:
    known = f"; C and the expressions below know it as `{h.constant.name}` = {h.constant.formula}" if h.constant else ""
    return f"| `{h.name}` | `{h.default!r}` | {h.expected} | {meaning(h)}{known} |"


def rules_page() -> str:
    """docs/rules.md: every argument of every rule."""
    out = [
        "# The rules\n",
        MARK,
        "\nThis page is made from the table in `python/fastopt/rules`.  `t` counts steps from 1; `g` is the gradient after the stages.\n"
        "New state below the smallest normal number of its arithmetic's dtype becomes 0.\n",
    ]
    for rule in RULES.values():
        out += [f"## {rule.name}\n", f"{rule.summary}\n", f"    {rule.formula}\n", f"Source: {rule.paper}.\n"]
        out += ["| argument | default | range | meaning |", "|---|---|---|---|", *map(describe, rule.arguments), ""]
        out += ["| state | kind | first value | meaning |", "|---|---|---|---|"]
        out += [f"| `{s.name}` | {s.kind} | {s.initial} | {s.doc} |" for s in rule.slots]
        out += [f"| `{s.name}` | one float64 number | {s.initial:g} | {s.doc} |" for s in rule.running]
        out += ["", "| derived for each step, in float64 | |", "|---|---|"]
        out += [f"| `{name}` | `{expression}` |" for name, expression in rule.scalars.items()]
        out.append("")
    out += [
        "## Options of every rule\n",
        OPTIONS_HEAD,
        "| option | default | range | meaning |",
        "|---|---|---|---|",
        *map(describe, OPTIONS),
        "",
        "## Formats of every rule\n",
        "These are arguments of each class, fixed when an optimizer is built; [formats.md](formats.md) says what they mean.\n",
        "| argument | default | range | meaning |",
        "|---|---|---|---|",
        *map(describe, FORMAT_ARGUMENTS),
        "",
    ]
    return "\n".join(out)


def forms_page() -> str:
    """docs/forms.md: which call computes whose formula."""
    out = [FORMS_HEAD, MARK]
    for rule in RULES.values():
        out += [f"\n## {rule.name}\n", f"{rule.paper}.\n", "| form | formula | call |", "|---|---|---|"]
        out += [f"| {f.name} | {f.formula.replace('*', chr(92) + '*')} | `{f.call(rule)}` |" for f in rule.forms]
    return "\n".join(out) + "\n"


NAMES: tuple[tuple[str, str, Table], ...] = (
    (
        "Optimizers",
        "Arguments of the classes, of `fastopt.functional` and of `fastopt.torch`, keys of groups, options.",
        OPTIMIZERS,
    ),
    ("`opt.step`", "Besides, as further arguments of a step:", STEP),
    ("Attributes of an optimizer", "`opt.name` and `opt.name = value`:", ATTRIBUTES),
    ("Schedules", "Arguments of `fastopt.schedules`.", SCHEDULES),
    ("`ReduceOnPlateau`", "Arguments of `fastopt.schedules.ReduceOnPlateau`.", PLATEAU),
    ("`fastopt.minimize`", "Arguments, and options of `fastopt.scipy`, besides those of optimizers.", MINIMIZE),
    ("Estimators", "Arguments of the estimators of `fastopt.sklearn`.", ESTIMATORS),
    ("Names in `fastopt`", "Names that the package itself lacks.", CLASSES),
    (
        "Names in `fastopt.schedules`",
        "Classes and functions; [schedules.md](schedules.md) has what each computes.",
        SCHEDULE_CLASSES,
    ),
    ("Names in `fastopt.sklearn`", "Estimators; [sklearn.md](sklearn.md) says how they differ.", ESTIMATOR_CLASSES),
)


def names_page() -> str:
    """docs/names.md: what other frameworks call an argument."""
    out = [NAMES_HEAD, MARK]
    for title, text, table in NAMES:
        out += [f"\n## {title}\n", f"{text}\n", "| there | framework | in fastopt | note |", "|---|---|---|---|"]
        for row in table:
            names = ", ".join(f"`{name}`" for name in row.names)
            write = f"`{row.code(row.names[0])}`" if row.write else "-"
            note = row.note.replace("{name}", row.names[0])
            only = f"{', '.join(row.rules)} only" if row.rules else ""
            out.append(f"| {names} | {row.where} | {write} | {': '.join(filter(None, (only, note)))} |")
    return "\n".join(out) + "\n"


COMBINATIONS: tuple[tuple[str, str, str | None, str | None], ...] = (
    ("float32", "float32", None, None),
    ("float32", "float32", "bfloat16", None),
    ("float32", "float32", "8bit", None),
    ("float32", "bfloat16", "8bit", None),
    ("bfloat16", "bfloat16", None, "float32"),
    ("bfloat16", "bfloat16", "bfloat16", "32bit"),
    ("bfloat16", "bfloat16", "bfloat16", "24bit"),
    ("bfloat16", "bfloat16", "8bit", "24bit"),
    ("bfloat16", "bfloat16", "8bit", "stochastic"),
)
"""Parameters, gradients, `state_dtype`, `master`; float16 has the bytes of bfloat16."""


def bytes_table() -> str:
    """Bytes a parameter of AdamW in several formats, as the optimizer itself counts them."""
    rows = [
        "| parameters | gradients | `state_dtype` | `master` | bytes kept | bytes moved by a step |",
        "|---|---|---|---|---|---|",
    ]
    n = 1 << 16
    for param, grad, state_dtype, master in COMBINATIONS:
        arrays = [np.zeros(n, BFLOAT16 if name == "bfloat16" else name) for name in (param, grad)]
        formats: dict[str, Any] = {"state_dtype": state_dtype, "master": master}
        optimizer = AdamW(arrays[0], grads=arrays[1], **formats)
        table = optimizer.traffic()
        kept = sum(max(row.values()) for name, row in table.items() if name != "total") / n
        moved = sum(table["total"].values()) / n
        words = [param, grad, *(f"`{name!r}`" if name else "" for name in (state_dtype, master))]
        rows.append(f"| {' | '.join(words)} | {kept:.4g} | {moved:.4g} |".replace("'", '"'))
    return "\n".join(rows)


def filled(name: str, mark: str, table: str) -> str:
    """The page with a new table between its two marks."""
    before, _, after = (ROOT / name).read_text().split(mark)
    return f"{before}{mark}\n{table}\n{mark}{after}"


def main() -> int:
    wanted = {
        "python/fastopt/optimizers.pyi": class_stub(),
        "python/fastopt/functional.pyi": function_stub(),
        "python/fastopt/torch/classes.pyi": torch_stub(),
        "docs/rules.md": rules_page(),
        "docs/forms.md": forms_page(),
        "docs/names.md": names_page(),
        "docs/formats.md": filled("docs/formats.md", BYTES_MARK, bytes_table()),
        "README.md": filled("README.md", MARK, short_table()),
    }
    stale = [name for name, text in wanted.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text]
    if "--check" in sys.argv:
        if stale:
            print(f"not what the table of rules says: {', '.join(stale)}; run python tools/generate.py")
        return len(stale)
    for name in stale:
        (ROOT / name).write_text(wanted[name])
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
