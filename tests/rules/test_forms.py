"""Every form that the table and the documents promise, by the arguments they print, against the framework's or textbook's own.

The witnesses' defaults are the frameworks' own, so an argument that stands here departs from them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from fastopt.rules import RULES, Form
from tests.support import reference_forms as frameworks
from tests.support import reference_textbooks as textbooks
from tests.support.arrays import Array
from tests.support.cases import DTYPES
from tests.support.side_by_side import compare

pytestmark = pytest.mark.kernel

Witness = tuple[Callable[..., Array], dict[str, Any]]


def torch(optimizer: str, **arguments: Any) -> Witness:
    return frameworks.torch_optim, {"optimizer": optimizer, **arguments}


SGD_MOMENTUM = {"learning_rate": 0.01, "momentum": 0.9}

WITNESSES: dict[tuple[str, str], tuple[Witness, ...]] = {
    ("SGD", "gradient descent"): (
        (textbooks.gradient_descent, {"lr": 0.01}),
        (frameworks.keras_sgd, {}),
        (frameworks.optax_sgd, {"learning_rate": 0.01}),
    ),
    ("SGD", "torch, momentum"): (torch("SGD", lr=0.01, momentum=0.9, dampening=0.1),),
    ("SGD", "torch, Nesterov"): (torch("SGD", lr=0.01, momentum=0.9, nesterov=True),),
    ("SGD", "Keras, TensorFlow, momentum"): ((frameworks.keras_sgd, SGD_MOMENTUM),),
    ("SGD", "Keras, TensorFlow, Nesterov"): ((frameworks.keras_sgd, SGD_MOMENTUM | {"nesterov": True}),),
    ("SGD", "optax sgd (trace)"): ((frameworks.optax_sgd, SGD_MOMENTUM),),
    ("SGD", "optax sgd, nesterov"): ((frameworks.optax_sgd, SGD_MOMENTUM | {"nesterov": True}),),
    ("SGD", "textbook heavy ball (Polyak)"): ((textbooks.heavy_ball, {"lr": 0.01, "beta": 0.9}),),
    ("SGD", "textbook momentum, optax ema(debias=False)"): (
        (textbooks.averaging_momentum, {"lr": 0.01, "beta": 0.9}),
        (frameworks.optax_ema, {"learning_rate": 0.01, "decay": 0.9, "debias": False}),
    ),
    ("Adam", "torch"): (torch("Adam"),),
    ("Adam", "Keras, TensorFlow"): ((frameworks.keras_adam, {}),),
    ("Adam", "optax adam, textbook"): (
        (frameworks.optax_adam, {"learning_rate": 1e-3}),
        (textbooks.textbook_adam, {"lr": 1e-3}),
    ),
    ("Adam", "optax adam, eps_root"): ((frameworks.optax_adam, {"learning_rate": 1e-3, "eps_root": 1e-8}),),
    ("Adam", "torch, AMSGrad"): (torch("Adam", amsgrad=True),),
    ("Adam", "Keras, AMSGrad"): ((frameworks.keras_adam, {"amsgrad": True}),),
    ("Adam", "optax amsgrad"): ((frameworks.optax_amsgrad, {"learning_rate": 1e-3}),),
    ("AdamW", "torch"): (torch("AdamW"),),
    ("AdamW", "Keras"): ((frameworks.keras_adamw, {}),),
    ("AdamW", "optax adamw"): ((frameworks.optax_adamw, {"learning_rate": 1e-3}),),
    ("Adamax", "torch, optax"): (torch("Adamax"), (frameworks.optax_adamax, {"learning_rate": 2e-3})),
    ("Adamax", "Keras, TensorFlow"): ((frameworks.keras_adamax, {}),),
    ("Adamax", "textbook"): ((textbooks.textbook_adamax, {"lr": 2e-3}),),
    ("NAdam", "torch"): (torch("NAdam"),),
    ("NAdam", "Keras, TensorFlow"): ((frameworks.keras_nadam, {}),),
    ("NAdam", "optax nadam"): ((frameworks.optax_nadam, {"learning_rate": 1e-3}),),
    ("NAdam", "optax nadamw"): ((frameworks.optax_nadamw, {"learning_rate": 1e-3}),),
    ("NAdam", "textbook (Ruder)"): ((textbooks.textbook_nadam, {"lr": 2e-3}),),
    ("NAdam", "textbook, g uncorrected"): ((textbooks.textbook_nadam, {"lr": 2e-3, "corrected": False}),),
    ("RAdam", "torch"): (torch("RAdam"),),
    ("RAdam", "optax radam"): ((frameworks.optax_radam, {"learning_rate": 1e-3}),),
    ("RMSprop", "torch"): (torch("RMSprop"),),
    ("RMSprop", "torch, momentum"): (torch("RMSprop", momentum=0.9),),
    ("RMSprop", "torch, centered"): (torch("RMSprop", momentum=0.9, centered=True),),
    ("RMSprop", "Keras, TensorFlow"): ((frameworks.keras_rmsprop, {}),),
    ("RMSprop", "Keras, TensorFlow, momentum and centered"): ((frameworks.keras_rmsprop, {"momentum": 0.9, "centered": True}),),
    ("RMSprop", "optax rmsprop"): ((frameworks.optax_rmsprop, {"learning_rate": 1e-3}),),
    ("RMSprop", "optax rmsprop, momentum and centered"): (
        (frameworks.optax_rmsprop, {"learning_rate": 1e-3, "momentum": 0.9, "centered": True}),
    ),
    ("RMSprop", "textbook"): ((textbooks.textbook_rmsprop, {"lr": 1e-3}),),
    ("Adagrad", "torch, textbook"): (torch("Adagrad"), (textbooks.textbook_adagrad, {"lr": 1e-2})),
    ("Adagrad", "Keras, TensorFlow"): ((frameworks.keras_adagrad, {}),),
    ("Adagrad", "optax"): ((frameworks.optax_adagrad, {"learning_rate": 1e-2}),),
    ("Adadelta", "torch"): (torch("Adadelta"),),
    ("Adadelta", "Keras, TensorFlow"): ((frameworks.keras_adadelta, {}),),
    ("Adadelta", "optax adadelta"): ((frameworks.optax_adadelta, {"learning_rate": 1.0}),),
    ("Adadelta", "textbook, without lr"): ((textbooks.textbook_adadelta, {}),),
    ("Lion", "the paper"): ((textbooks.paper_lion, {"lr": 1e-4}),),
    ("Lion", "Keras"): ((frameworks.keras_lion, {}),),
    ("Lion", "optax lion"): ((frameworks.optax_lion, {"learning_rate": 1e-4}),),
}
"""Who says what each form is: the function and its arguments, in the words of the framework."""

FORMS: dict[tuple[str, str], Form] = {(rule.name, form.name): form for rule in RULES.values() for form in rule.forms}

CASES = [(*key, witness) for key, witnesses in WITNESSES.items() for witness in witnesses]


def case_id(value: Any) -> str:
    """A rule or form by its name, a witness by that of its function."""
    return value if isinstance(value, str) else getattr(value[0], "func", value[0]).__name__


def each(cases: list[tuple[str, str, Witness]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("rule", "form", "witness"), cases, ids=case_id)


def worded(witness: Witness, arguments: dict[str, Any]) -> dict[str, Any]:
    """Our arguments, whose names are torch's, under those of the witness."""
    known = inspect.signature(witness[0]).parameters
    if "betas" in arguments and witness[0] is not frameworks.torch_optim:
        arguments = dict(zip(("beta1", "beta2"), arguments["betas"], strict=True))
    words = {"lr": ("learning_rate",), "eps": ("epsilon",), "beta1": ("beta_1", "b1"), "beta2": ("beta_2", "b2")}
    return {next((word for word in words.get(name, ()) if word in known), name): value for name, value in arguments.items()}


def check(rule: str, form: str, witness: Witness, dtype: Any, changed: dict[str, Any] | None = None) -> None:
    """The form's arguments against the witness, both with those that are changed."""
    step, arguments = witness
    ours = {**FORMS[rule, form].arguments, **(changed or {})}
    theirs = arguments | worded(witness, changed or {})
    compare(rule, ours, dtype, 61, 8, expected_step=step, expected_arguments=theirs, compare_state=False)


def test_every_form_has_a_witness() -> None:
    assert set(WITNESSES) == set(FORMS)


@pytest.mark.parametrize("dtype", DTYPES)
@each(CASES)
def test_forms(rule: str, form: str, witness: Witness, dtype: Any) -> None:
    check(rule, form, witness, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@each([case for case in CASES if "eps" in RULES[case[0]].defaults])
def test_where_eps_stands(rule: str, form: str, witness: Witness, dtype: Any) -> None:
    """An eps of the size of the smallest gradients: the usual ones hardly show."""
    check(rule, form, witness, dtype, {"eps": 1e-2})


@pytest.mark.parametrize("dtype", DTYPES)
@each([case for case in CASES if "betas" in RULES[case[0]].defaults])
def test_short_averages(rule: str, form: str, witness: Witness, dtype: Any) -> None:
    """An average that also falls within the run: only then does AMSGrad's maximum show."""
    check(rule, form, witness, dtype, {"betas": (0.7, 0.8)})


@pytest.mark.parametrize("dtype", DTYPES)
@each([case for case in CASES if "Keras" in case[1]])
def test_keras_decays_weights_first(rule: str, form: str, witness: Witness, dtype: Any) -> None:
    """Keras' weight decay is decoupled, of any rule."""
    step, arguments = witness
    ours = {**FORMS[rule, form].arguments, "weight_decay": 0.02, "decoupled_weight_decay": True}
    theirs = arguments | {"weight_decay": 0.02}
    compare(rule, ours, dtype, 61, 8, expected_step=step, expected_arguments=theirs, compare_state=False)


@pytest.mark.parametrize("dtype", DTYPES)
@each([case for case in CASES if "lr" in FORMS[case[:2]].arguments])
def test_a_changing_lr(rule: str, form: str, witness: Witness, dtype: Any) -> None:
    """What a momentum buffer holds shows only when lr changes."""
    ours = dict(FORMS[rule, form].arguments)

    def step(*arguments: Any, lr: float, **others: Any) -> Array:
        return witness[0](*arguments, **others | worded(witness, {"lr": lr}))

    def lr_at(t: int) -> float:
        return float(ours["lr"]) / t

    compare(rule, ours, dtype, 61, 8, expected_step=step, expected_arguments=witness[1], lr_at=lr_at, compare_state=False)
