"""RMSprop as the textbook divides, g/sqrt(s + eps): logistic regression that tells malignant tumours from benign ones."""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import fastopt

LR, BETA, EPS, STEPS = 1e-2, 0.9, 1e-6, 500


def main() -> dict[str, float]:
    X, y = load_breast_cancer(return_X_y=True)
    X = np.column_stack([np.ones(len(X)), (X - X.mean(axis=0)) / X.std(axis=0)])
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)

    def gradient(w):  # the mean cross-entropy's
        return X.T @ (1 / (1 + np.exp(-X @ w)) - y) / len(X)

    w, s = np.zeros(31), np.zeros(31)
    for _ in range(STEPS):
        g = gradient(w)
        s = BETA * s + (1 - BETA) * g**2
        w -= LR * g / np.sqrt(s + EPS)

    p = np.zeros(31)
    opt = fastopt.RMSprop(p, lr=LR, alpha=BETA, eps=EPS, eps_in_root=True)
    outside = np.zeros(31)
    torch_opt = fastopt.RMSprop(outside, lr=LR, alpha=BETA, eps=EPS)  # torch divides by sqrt(s) + eps
    for _ in range(STEPS):
        opt.step(gradient(p))
        torch_opt.step(gradient(outside))

    accuracy = np.mean((X_test @ p > 0) == y_test)
    difference, from_torch = np.abs(p - w).max(), np.abs(p - outside).max()
    print(f"test accuracy {accuracy:.3f} after {STEPS} steps, coefficients up to {np.abs(p).max():.2f}")
    print(f"largest difference from the textbook's loop: {difference:.1e}")
    print(f"from torch's form, eps={EPS} outside the root: {from_torch:.2f}")
    return {"difference": difference, "accuracy": accuracy, "torch's form": from_torch}


if __name__ == "__main__":
    main()
