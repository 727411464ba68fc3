"""Nadam as a function of a gradient function, beside `fastopt.minimize`: a bowl, and Rosenbrock's curved valley."""

import numpy as np
from scipy.optimize import rosen, rosen_der

import fastopt


def nadam(objective, derivative, bounds, n_iter, alpha, mu, nu, eps=1e-8, seed=1):
    """The best of `n_iter` points from a random start within the bounds, and its value."""
    x = np.random.default_rng(seed).uniform(*bounds)
    m, n, best = np.zeros(len(x)), np.zeros(len(x)), x
    for t in range(1, n_iter + 1):
        g = derivative(x)
        m = mu * m + (1 - mu) * g
        n = nu * n + (1 - nu) * g**2
        m_hat = (mu * m + (1 - mu) * g) / (1 - mu**t)  # some texts print 1 - mu here and 1 - nu below, as if t = 1
        n_hat = n / (1 - nu**t)
        x = x - alpha * m_hat / (np.sqrt(n_hat) + eps)
        best = min(best, x, key=objective)
    return best, objective(best)


def in_one_call(objective, derivative, bounds, n_iter, alpha, mu, nu, eps=1e-8, seed=1):
    form = {"momentum_decay": None, "lookahead_correction": "same"}  # torch's Nadam has a momentum schedule
    result = fastopt.minimize(
        objective,
        np.random.default_rng(seed).uniform(*bounds),
        jac=derivative,
        method="nadam",
        steps=n_iter,
        lr=alpha,
        betas=(mu, nu),
        eps=eps,
        **form,
    )
    return result.x, result.fun


def main() -> dict[str, float]:
    outcome, difference = {}, 0.0
    for name, minimum, *problem in (
        ("x**2 + y**2", 0, lambda x: np.sum(x**2), lambda x: 2 * x, ([-1, -1], [1, 1]), 50, 0.1, 0.8, 0.999),
        ("Rosenbrock", 1, rosen, rosen_der, ([-2, -2], [2, 2]), 2000, 0.2, 0.975, 0.999),
    ):
        x, value = nadam(*problem)
        p, least = in_one_call(*problem)
        print(f"{name}: f({p[0]:.6f}, {p[1]:.6f}) = {least:.1e}")
        outcome[name] = np.abs(p - minimum).max()
        difference = max(difference, np.abs(p - x).max(), abs(least - value))
    print(f"largest difference from the textbook's function: {difference:.1e}")
    return outcome | {"difference": difference}


if __name__ == "__main__":
    main()
