"""Clipping by the norm of all gradients: a network on targets in the hundreds, whose gradients explode without."""

import numpy as np
from sklearn.datasets import make_regression
from sklearn.model_selection import train_test_split

import fastopt

LR, MOMENTUM, MAX_NORM, EPOCHS, BATCH = 0.01, 0.9, 1.0, 100, 32

X, y = make_regression(n_samples=1000, n_features=20, noise=0.1, random_state=1)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, random_state=0)


def gradients(w, rows):  # the mean squared error's
    hidden = np.maximum(0, X[rows] @ w[0] + w[1])
    error = 2 / len(rows) * (hidden @ w[2] + w[3] - y[rows])
    back = np.outer(error, w[2]) * (hidden > 0)
    return [X[rows].T @ back, back.sum(axis=0), hidden.T @ error, error.sum(keepdims=True)]


def train(step_of):
    rng = np.random.default_rng(0)
    w = [rng.standard_normal((20, 25)) / 10**0.5, np.zeros(25), rng.standard_normal(25) / 5, np.zeros(1)]
    step = step_of(w)
    for _ in range(EPOCHS):
        for rows in np.array_split(rng.permutation(len(X)), len(X) // BATCH):
            step(gradients(w, rows))
    return w


def textbook(w):
    buffers = [np.zeros_like(a) for a in w]

    def step(grads):
        norm = np.sqrt(sum(np.sum(g**2) for g in grads))
        for a, b, g in zip(w, buffers, grads, strict=True):
            b[:] = MOMENTUM * b + g * min(1, MAX_NORM / (norm + 1e-6))  # as torch's clip_grad_norm_
            a[:] -= LR * b

    return step


def main() -> dict[str, float]:
    w = train(lambda w: fastopt.SGD(w, lr=LR, momentum=MOMENTUM, max_norm=MAX_NORM, norm_eps=1e-6).step)
    keras = train(lambda w: fastopt.SGD(w, lr=LR, momentum=MOMENTUM, max_norm=MAX_NORM).step)  # global_clipnorm: no eps
    with np.errstate(over="ignore", invalid="ignore"):  # beyond the largest float64
        free = train(lambda w: fastopt.SGD(w, lr=LR, momentum=MOMENTUM).step)

    difference = max(np.abs(a - b).max() for a, b in zip(w, train(textbook), strict=True))
    between = max(np.abs(a - b).max() for a, b in zip(w, keras, strict=True))
    r2 = 1 - np.mean((np.maximum(0, X_test @ w[0] + w[1]) @ w[2] + w[3] - y_test) ** 2) / y_test.var()
    print(f"test R2 {r2:.5f}; without clipping every weight is {free[0][0, 0]}")
    print(f"largest difference from the textbook's loop: {difference:.1e}; from Keras' clipping: {between:.1e}")
    return {"difference": difference, "R2": r2, "NaN without": np.isnan(free[0]).mean(), "Keras' form": between}


if __name__ == "__main__":
    main()
