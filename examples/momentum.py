"""Momentum as the textbook averages it, v = beta*v + (1 - beta)*g from v = 0: linear regression on the diabetes data."""

import numpy as np
from sklearn.datasets import load_diabetes

import fastopt

LR, BETA, STEPS = 1.0, 0.9, 3000


def main() -> dict[str, float]:
    X, y = load_diabetes(return_X_y=True)
    X = np.column_stack([np.ones(len(X)), (X - X.mean(axis=0)) / X.std(axis=0)])

    def gradient(w):  # half the mean squared error's
        return X.T @ (X @ w - y) / len(X)

    def rmse(w):
        return np.sqrt(np.mean((X @ w - y) ** 2))

    w, v = np.zeros(11), np.zeros(11)
    p, other = np.zeros(11), np.zeros(11)
    opt = fastopt.SGD(p, lr=LR, momentum=BETA, dampening=BETA, momentum_init="zero")
    torch_opt = fastopt.SGD(other, lr=LR, momentum=BETA, dampening=BETA)  # torch starts v at the whole first gradient
    difference = 0.0  # the largest at any step: in the end every form reaches the same coefficients
    for step in range(1, STEPS + 1):
        v = BETA * v + (1 - BETA) * gradient(w)
        w -= LR * v
        opt.step(gradient(p))
        torch_opt.step(gradient(other))
        difference = max(difference, np.abs(p - w).max())
        if step == 20:
            early, torch_early = rmse(p), rmse(other)

    best, *_ = np.linalg.lstsq(X, y)
    from_best = np.abs(p - best).max()
    r2 = 1 - rmse(p) ** 2 / y.var()
    print(f"R2 {r2:.4f} after {STEPS} steps; the coefficients are within {from_best:.1e} of least squares")
    print(f"largest difference from the textbook's loop, at any step: {difference:.1e}")
    print(f"root mean squared error after 20 steps: {early:.1f}; with torch's start: {torch_early:.1f}")
    return {"difference": difference, "from least squares": from_best, "R2": r2, "torch's start": torch_early - early}


if __name__ == "__main__":
    main()
