"""A learning rate that is halved whenever the error stops falling: linear regression on the diabetes data, a row a step."""

import numpy as np
from sklearn.datasets import load_diabetes

import fastopt

LR, FACTOR, PATIENCE, EPOCHS = 0.1, 0.5, 2, 60

X, y = load_diabetes(return_X_y=True)
X = np.column_stack([np.ones(len(X)), (X - X.mean(axis=0)) / X.std(axis=0)])
best, *_ = np.linalg.lstsq(X, y)


def mse(w):
    return np.mean((X @ w - y) ** 2)


def epochs(w, step):
    """The mean squared error after each epoch, with one step for each row."""
    rng = np.random.default_rng(0)
    for _ in range(EPOCHS):
        for i in rng.permutation(len(X)):
            step((X[i] @ w - y[i]) * X[i])
        yield mse(w)


def main() -> dict[str, float]:
    w, lr, least, waited = np.zeros(11), LR, np.inf, 0

    def textbook(g):
        w[:] -= lr * g

    for error in epochs(w, textbook):
        least, waited = (error, 0) if error < least else (least, waited + 1)
        if waited > PATIENCE:
            lr, waited = lr * FACTOR, 0

    p = np.zeros(11)
    plateau = fastopt.schedules.ReduceOnPlateau(LR, factor=FACTOR, patience=PATIENCE, threshold=0)
    opt = fastopt.SGD(p, lr=plateau)
    for error in epochs(p, opt.step):
        plateau.step(error)

    constant = np.zeros(11)
    *_, constant_error = epochs(constant, fastopt.SGD(constant, lr=LR).step)
    difference, last = np.abs(p - w).max(), plateau(opt.steps)
    print(f"mean squared error above the least, which is {mse(best):.0f}, after {EPOCHS} epochs: {error - mse(best):.3f}")
    print(f"learning rate {LR} at first, {last:.1e} now; with {LR} to the end: {constant_error - mse(best):.3f}")
    print(f"largest difference from the textbook's loop: {difference:.1e}")
    return {"difference": difference, "lr": last, "excess": error - mse(best), "constant": constant_error - mse(best)}


if __name__ == "__main__":
    main()
