"""Adadelta without a learning rate: linear support vector machines that tell three kinds of iris apart."""

import numpy as np
from sklearn.datasets import load_iris

import fastopt

RHO, EPS, STEPS = 0.95, 1e-6, 1500


def main() -> dict[str, float]:
    X, y = load_iris(return_X_y=True)
    X = np.column_stack([np.ones(len(X)), (X - X.mean(axis=0)) / X.std(axis=0)])
    sign = 2 * np.eye(3)[y] - 1  # one machine for each kind, against the rest

    def hinge(W):
        return np.maximum(0, 1 - sign * (X @ W))

    def gradient(W):  # the mean hinge loss's
        return -X.T @ (sign * (hinge(W) > 0)) / len(X)

    W, v, a = (np.zeros((5, 3)) for _ in range(3))
    for _ in range(STEPS):
        g = gradient(W)
        v = RHO * v + (1 - RHO) * g**2
        d = np.sqrt(a + EPS) / np.sqrt(v + EPS) * g
        a = RHO * a + (1 - RHO) * d**2
        W -= d

    p = np.zeros((5, 3))
    opt = fastopt.Adadelta(p, rho=RHO, eps=EPS)  # the default lr is 1
    small = np.zeros((5, 3))
    keras_opt = fastopt.Adadelta(small, lr=1e-3, rho=RHO, eps=1e-7)
    for _ in range(STEPS):
        opt.step(gradient(p))
        keras_opt.step(gradient(small))

    loss, small_loss = (hinge(w).mean() for w in (p, small))
    accuracy = np.mean((X @ p).argmax(axis=1) == y)
    difference = np.abs(p - W).max()
    print(f"hinge loss {loss:.3f}, accuracy {accuracy:.3f} after {STEPS} steps, coefficients up to {np.abs(p).max():.2f}")
    print(f"largest difference from the textbook's loop: {difference:.1e}")
    print(f"the loss with Keras' learning rate of 0.001: {small_loss:.3f}; at the start it is 1")
    return {"difference": difference, "accuracy": accuracy, "loss": loss, "Keras' loss": small_loss}


if __name__ == "__main__":
    main()
