"""Exponential decay of the learning rate: linear regression on the diabetes data, a row a step, beside the least squares."""

import numpy as np
from sklearn.datasets import load_diabetes

import fastopt

LR, DECAY_RATE, EPOCHS = 0.1, 0.9, 60


def main() -> dict[str, float]:
    X, y = load_diabetes(return_X_y=True)
    X = np.column_stack([np.ones(len(X)), (X - X.mean(axis=0)) / X.std(axis=0)])
    best, *_ = np.linalg.lstsq(X, y)
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.permutation(len(X)) for _ in range(EPOCHS)])

    def gradient(w, i):  # half the squared error's, on one row
        return (X[i] @ w - y[i]) * X[i]

    def excess(w):  # how far the mean squared error is above the least
        return np.mean((X @ w - y) ** 2) - np.mean((X @ best - y) ** 2)

    def train(lr):
        w = np.zeros(11)
        opt = fastopt.SGD(w, lr=lr)
        for i in rows:
            opt.step(gradient(w, i))
        return w

    w = np.zeros(11)
    for step, i in enumerate(rows):
        w -= LR * DECAY_RATE ** (step / len(X)) * gradient(w, i)  # Keras' ExponentialDecay with decay_steps=len(X)

    p = train(fastopt.schedules.exponential(LR, DECAY_RATE, decay_steps=len(X)))
    constant = {lr: excess(train(lr)) for lr in (1e-1, 1e-2, 1e-3, 1e-4)}
    difference, from_best = np.abs(p - w).max(), np.abs(p - best).max()
    print(f"mean squared error above the least, which is {np.mean((X @ best - y) ** 2):.0f}, after {EPOCHS} epochs:")
    print(f"    {excess(p):.3f} with a learning rate that falls from {LR} by {1 - DECAY_RATE:.0%} an epoch")
    for lr, error in constant.items():
        print(f"    {error:.3f} with {lr}, constant")
    print(f"largest difference from the textbook's loop: {difference:.1e}; from least squares: {from_best:.2f}")
    return {"difference": difference, "from least squares": from_best, "excess": excess(p), "constant": min(constant.values())}


if __name__ == "__main__":
    main()
