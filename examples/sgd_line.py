"""Stochastic gradient descent: a line through 100 noisy points of 4 + 3x, beside the least-squares line."""

import numpy as np

import fastopt

EPOCHS, BATCH = 200, 10


def main() -> dict[str, float]:
    rng = np.random.default_rng(42)
    x = 2 * rng.random(100)
    y = 4 + 3 * x + rng.standard_normal(100)
    X = np.column_stack([np.ones(100), x])

    line = rng.standard_normal(2)  # intercept and slope
    theta = line.copy()
    opt = fastopt.SGD(line, lr=fastopt.schedules.inverse_time(0.1, 0.01))  # the decay averages the noise of the batches out
    for _ in range(EPOCHS):
        order = rng.permutation(100)
        for i in range(0, 100, BATCH):
            batch = order[i : i + BATCH]
            eta = 10 / (100 + opt.steps)
            theta -= eta * 2 / BATCH * X[batch].T @ (X[batch] @ theta - y[batch])
            opt.step(2 / BATCH * X[batch].T @ (X[batch] @ line - y[batch]))  # the gradient of the mean squared error

    best, *_ = np.linalg.lstsq(X, y)
    print(f"gradient descent  {line[0]:.4f} + {line[1]:.4f} x   after {opt.steps} steps of {BATCH} points, lr now {opt.lr:.4f}")
    print(f"least squares     {best[0]:.4f} + {best[1]:.4f} x")
    difference = np.abs(line - theta).max()
    print(f"largest difference from the textbook's loop: {difference:.1e}")
    return {"difference": difference, "intercept": line[0], "slope": line[1], "from least squares": np.abs(line - best).max()}


if __name__ == "__main__":
    main()
