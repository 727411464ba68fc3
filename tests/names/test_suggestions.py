"""Arguments under other frameworks' names, and misspelled ones: every entry ends its error in what to write."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch

import fastopt
import fastopt.sklearn
import fastopt.torch
from fastopt.rules import RULES


def param() -> Any:
    return np.ones(3, np.float32)


def module() -> Any:
    return torch.nn.Linear(3, 1)


def ending(call: Callable[[], Any]) -> str:
    """The words behind the last semicolon of what a call raises."""
    with pytest.raises((AttributeError, TypeError)) as caught:
        call()
    return str(caught.value).rpartition("; ")[2]


ADAM_NAMES = {
    "learning_rate": "did you mean lr?",
    "learning_rate_init": "did you mean lr?",
    "eta0": "did you mean lr?",
    "alpha": "did you mean lr (if it is the learning rate) or weight_decay (if it is the L2 penalty)?",
    "beta_1": "did you mean betas=(beta_1, beta_2)?",
    "beta1": "did you mean betas=(beta1, beta2)?",
    "b1": "did you mean betas=(b1, b2)?",
    "b2": "did you mean betas=(b1, b2)?",
    "momentum": "did you mean betas=(momentum, 0.999)? The first of betas is the momentum",
    "epsilon": "did you mean eps?",
    "decay": "did you mean lr=fastopt.schedules.inverse_time(lr, decay_rate=decay)?",
    "weight_decay_rate": "did you mean weight_decay?",
    "nesterov": "did you mean fastopt.NAdam(params, momentum_decay=None)? This is optax's nadam",
    "clipnorm": "did you mean max_norm? Keras' clipnorm clips each variable by itself, max_norm all together by their joint norm, "
    "as Keras' global_clipnorm does",
    "global_clipnorm": "did you mean max_norm?",
    "clipvalue": "did you mean clip_value?",
    "use_ema": "did you mean ema_decay=ema_momentum? opt.ema_params has the averages",
    "ema_momentum": "did you mean ema_decay?",
    "ema_overwrite_frequency": "copy opt.ema_params into the parameters whenever you need it",
    "gradient_accumulation_steps": "did you mean grad_scale=1/gradient_accumulation_steps? "
    "Add the gradients up and step when the sum is complete",
    "loss_scale_factor": "did you mean grad_scale=1/loss_scale_factor?",
    "foreach": "leave foreach out: every step is fused",
    "fused": "leave fused out: every step is fused",
    "capturable": "leave capturable out: every step on a GPU can be captured",
    "differentiable": "leave differentiable out: a fused step leaves autograd no history",
    "mu_dtype": "did you mean state_dtype?",
    "solver": "the class is the solver: fastopt.SGD, fastopt.AdamW, ...",
    "maxiter": "did you mean for _ in range(maxiter): opt.step(grads)?",
    "momentum_decay": "only NAdam has it",
    "lr_decay": "did you mean lr=fastopt.schedules.inverse_time(lr, decay_rate=lr_decay)?",
    "weigth_decay": "did you mean weight_decay?",
    "Learning_Rate": "did you mean lr?",
    "max_nrom": "did you mean max_norm?",
}


@pytest.mark.parametrize("name", ADAM_NAMES)
def test_adam(name: str) -> None:
    assert ending(lambda: fastopt.Adam(param(), **{name: 1})) == ADAM_NAMES[name]


@pytest.mark.parametrize(
    ("rule", "name", "words"),
    [
        ("RMSprop", "rho", "did you mean alpha?"),
        ("RMSprop", "eps_in_sqrt", "did you mean eps_in_root?"),
        (
            "RMSprop",
            "bias_correction",
            "did you mean fastopt.Adam(params, betas=(0.0, alpha))? This is RMSprop with a bias correction",
        ),
        ("Adadelta", "gamma", "did you mean rho?"),
        ("SGD", "beta", "did you mean momentum?"),
        ("SGD", "amsgrad", "did you mean fastopt.Adam(params, amsgrad=True)?"),
        ("SGD", "nesterovs_momentum", "did you mean nesterov?"),
        ("Adagrad", "momentum", "only SGD and RMSprop have it"),
        ("Lion", "eps_root", "only Adam, AdamW, NAdam and RAdam have it"),
        ("NAdam", "schedule_decay", "did you mean momentum_decay?"),
    ],
)
def test_other_rules(rule: str, name: str, words: str) -> None:
    assert ending(lambda: getattr(fastopt, rule)(param(), **{name: 1})) == words


@pytest.mark.parametrize(
    ("name", "words"),
    [("t", "did you mean step?"), ("m", "did you mean exp_avg?"), ("nu", "did you mean exp_avg_sq?")],
)
def test_functions(name: str, words: str) -> None:
    assert ending(lambda: fastopt.functional.adamw(param(), param(), step=1, **{name: 1})) == words


def test_groups_and_options_that_are_read() -> None:
    opt = bound()
    with pytest.raises(KeyError, match=r"learning_rate: AdamW has no such hyperparameter; .*; did you mean lr\?"):
        opt.groups[0]["learning_rate"]
    with pytest.raises(KeyError, match=r"clipvalue: there is no such option; .*; did you mean clip_value\?"):
        opt.options["clipvalue"]
    assert "learning_rate" not in opt.groups[0]
    assert "clipvalue" not in opt.options
    assert opt.groups[0].get("learning_rate", 3) == 3
    assert {"params", "lr"} <= set(opt.groups[0])


def test_methods_of_minimize() -> None:
    with pytest.raises(ValueError, match=r"^method: got 'adamm', .*; did you mean adam\?$"):
        fastopt.minimize(lambda x: x @ x, [1.0], method="adamm")


def test_a_checkpoint_of_torch_belongs_to_torchs_class() -> None:
    saved: Any = torch.optim.NAdam(module().parameters()).state_dict()
    with pytest.raises(ValueError, match=r"; fastopt\.torch\.NAdam loads torch's$"):
        fastopt.NAdam(param()).load_state_dict(saved)


def test_a_schedule_does_not_take_the_optimizer() -> None:
    words = "did you mean fastopt.AdamW(params, lr=schedule)? The optimizer takes the schedule"
    assert ending(lambda: fastopt.schedules.cosine(bound(), steps=3)) == words
    assert ending(lambda: fastopt.schedules.ReduceOnPlateau(bound())) == words.replace("schedule", "plateau")
    assert ending(lambda: fastopt.schedules.cosine("fast", steps=3)) == "lr: got str 'fast', expected a real number"


def test_what_resembles_nothing_gets_no_suggestion() -> None:
    assert "mean" not in ending(lambda: fastopt.AdamW(param(), xyzzy=1))


# Every entry with the same two mistakes: another framework's name, and a misspelled one of its own.


def bound(**more: Any) -> Any:
    return fastopt.AdamW(param(), **more)


ENTRIES: dict[str, Callable[..., Any]] = {
    "class": lambda **given: fastopt.AdamW(param(), **given),
    "function": lambda **given: fastopt.functional.adamw(param(), param(), param(), param(), step=1, **given),
    "torch": lambda **given: fastopt.torch.AdamW(module().parameters(), **given),
    "group": lambda **given: fastopt.AdamW([{"params": param(), **given}]),
    "opt.groups": lambda **given: bound().groups[0].update(given),
    "override": lambda **given: bound().load_state_dict(bound().state_dict(), override=given),
    "minimize": lambda **given: fastopt.minimize(lambda x: x @ x, [1.0], **given),
    "scipy": lambda **given: scipy.optimize.minimize(lambda x: x @ x, [1.0], method=fastopt.scipy.adamw, options=given),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry(entry: str) -> None:
    for name, meant in (("learning_rate", "lr"), ("epsilon", "eps"), ("weight_dekay", "weight_decay"), ("beta", "betas")):
        assert ending(lambda name=name: ENTRIES[entry](**{name: 0.5})) == f"did you mean {meant}?"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bound().step(param(), loss_scale=2.0), "did you mean grad_scale=1/loss_scale?"),
        (lambda: bound().step(param(), lr=0.1), "did you mean opt.lr = lr? The next step then has this rate"),
        (lambda: bound().step(param(), max_nrom=0.1), "did you mean max_norm?"),
        (lambda: bound().step_part(0, param(), clipvalue=0.1), "did you mean clip_value?"),
        (lambda: bound().options.update(ema_momentum=0.5), "did you mean ema_decay?"),
        (lambda: bound().options.__setitem__("global_clipnorm", 0.5), "did you mean max_norm?"),
        (
            lambda: fastopt.torch.AdamW([{"params": module().parameters(), "learning_rate": 1.0}]),
            "did you mean lr?",
        ),
        (lambda: fastopt.torch.SGD(module().parameters()).step(loss_scale=2.0), "did you mean grad_scale=1/loss_scale?"),
        (lambda: fastopt.schedules.cosine(0.1, T_max=9), "did you mean steps?"),
        (lambda: fastopt.schedules.cosine(0.1, 9, alpha=0.1), "did you mean end=alpha*lr? alpha is the share of lr at the end"),
        (lambda: fastopt.schedules.exponential(0.1, gamma=0.9), "did you mean decay_rate?"),
        (lambda: fastopt.schedules.exponential(0.1, 0.9, transition_steps=9), "did you mean decay_steps?"),
        (lambda: fastopt.schedules.linear(0.1, 9, warmup_steps=9), "did you mean warmup?"),
        (lambda: fastopt.schedules.step(0.1, 9, last_epoch=9), "the optimizer counts the steps, and checkpoints keep the count"),
        (lambda: fastopt.schedules.one_cycle(0.1, total_steps=9), "did you mean steps?"),
        (lambda: fastopt.schedules.ReduceOnPlateau(0.1, min_delta=1), 'did you mean threshold=min_delta, threshold_mode="abs"?'),
        (lambda: fastopt.schedules.ReduceOnPlateau(0.1, factr=1), "did you mean factor?"),
        (lambda: fastopt.minimize(lambda x: x @ x, [1.0], maxiter=9), "did you mean steps?"),
        (lambda: fastopt.minimize(lambda x: x @ x, [1.0], fprime=9), "did you mean jac?"),
        (lambda: fastopt.sklearn.MLPClassifier(learning_rate_init=9), "did you mean learning_rate?"),
        (lambda: fastopt.sklearn.LinearRegressor(solver="sgd"), "did you mean optimizer?"),
        (lambda: fastopt.sklearn.LinearRegressor(alpha=1), "With an l1_ratio, l1=alpha*l1_ratio and l2=alpha*(1 - l1_ratio)"),
        (lambda: fastopt.sklearn.LinearClassifier(n_jobs=2), "did you mean fastopt.set_num_threads(n_jobs)?"),
        (lambda: fastopt.Adamw, "did you mean AdamW?"),
        (lambda: fastopt.shedules, "did you mean schedules?"),
        (lambda: fastopt.optim, "did you mean fastopt.AdamW(params, lr=1e-3)? The classes are fastopt's own"),
        (lambda: fastopt.clip_by_global_norm, "did you mean fastopt.clip_grad_norm(grads, max_norm)?"),
        (lambda: fastopt.schedules.CosineAnnealingLR, "did you mean fastopt.schedules.cosine?"),
        (lambda: fastopt.schedules.exponental, "did you mean exponential?"),
        (lambda: fastopt.functional.AdamW, "did you mean adamw?"),
        (lambda: fastopt.torch.Nadam, "did you mean NAdam?"),
        (lambda: fastopt.sklearn.SGDClassifier, "did you mean fastopt.sklearn.LinearClassifier?"),
    ],
)
def test_further_entries(call: Callable[[], Any], words: str) -> None:
    assert ending(call).endswith(words)


def test_searches_set_parameters_of_estimators() -> None:
    model = fastopt.sklearn.LinearClassifier()
    for name, words in (("solver", "optimizer?"), ("beta_1", "beta1?"), ("max_itr", "max_iter?")):
        with pytest.raises(ValueError, match=rf"^Invalid parameter '{name}' for .*; did you mean {re.escape(words)}$"):
            model.set_params(**{name: 1})
    assert model.set_params(l2=0.5) is model


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("learning_rate", "did you mean opt.lr?"),
        ("weight_decay", 'did you mean opt.groups[0]["weight_decay"]?'),
        ("max_norm", 'did you mean opt.options["max_norm"]?'),
        ("param_groups", "did you mean opt.groups?"),
        ("stat", "did you mean state?"),
    ],
)
def test_attributes_are_neither_made_nor_read_in_silence(name: str, words: str) -> None:
    opt = bound()
    assert ending(lambda: setattr(opt, name, 1.0)) == words
    assert ending(lambda: getattr(opt, name)) == words
    assert not hasattr(opt, name)


@pytest.mark.parametrize("name", ["learning_rate", "lr", "weight_decay"])
def test_attributes_of_torchs_optimizers(name: str) -> None:
    optimizer = fastopt.torch.AdamW(module().parameters())
    target = {"learning_rate": "lr"}.get(name, name)
    assert ending(lambda: setattr(optimizer, name, 1.0)) == f'did you mean optimizer.param_groups[0]["{target}"]?'
    optimizer.name = "a program's own"


def test_a_group_of_torch_may_have_keys_of_the_programs_own() -> None:
    optimizer = fastopt.torch.AdamW([{"params": module().parameters(), "name": "head", "lr_scale": 0.5}])
    assert optimizer.param_groups[0]["lr_scale"] == 0.5


@pytest.mark.parametrize("rule", RULES)
def test_the_own_arguments_are_taken(rule: str) -> None:
    cls = getattr(fastopt, rule)
    cls(param(), **cls.rule.defaults)
