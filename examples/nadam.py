"""Nadam without a schedule, in the two forms that the textbooks print: a small neural network that tells three wines apart."""

import numpy as np
from scipy.special import softmax
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

import fastopt

LR, BETA1, BETA2, EPS, STEPS = 2e-3, 0.9, 0.999, 1e-8, 200

X, y = load_wine(return_X_y=True)
X, X_test, Y, Y_test = train_test_split((X - X.mean(axis=0)) / X.std(axis=0), np.eye(3)[y], random_state=0)


def layers(w):  # the two matrices, as views of the array of all weights
    return w[:208].reshape(13, 16), w[208:].reshape(16, 3)


def gradient(w):  # the mean cross-entropy's
    W1, W2 = layers(w)
    hidden = np.tanh(X @ W1)
    delta = (softmax(hidden @ W2, axis=1) - Y) / len(X)
    return np.append(X.T @ (delta @ W2.T * (1 - hidden**2)), hidden.T @ delta)


def textbook(start, corrected):
    w, m, v = start.copy(), np.zeros(256), np.zeros(256)
    for t in range(1, STEPS + 1):
        g = gradient(w)
        m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g**2
        m_hat, v_hat, g_hat = m / (1 - BETA1**t), v / (1 - BETA2**t), g / (1 - BETA1**t) if corrected else g
        w -= LR * (BETA1 * m_hat + (1 - BETA1) * g_hat) / (np.sqrt(v_hat) + EPS)
    return w


def train(start, **arguments):
    w = start.copy()
    opt = fastopt.NAdam(w, lr=LR, betas=(BETA1, BETA2), eps=EPS, **arguments)
    for _ in range(STEPS):
        opt.step(gradient(w))
    return w


def main() -> dict[str, float]:
    start = np.random.default_rng(0).standard_normal(256) / 4
    ruder = train(start, momentum_decay=None, lookahead_correction="same")
    uncorrected = train(start, momentum_decay=None, lookahead_correction="momentum only")
    difference = max(np.abs(ruder - textbook(start, True)).max(), np.abs(uncorrected - textbook(start, False)).max())
    between, from_torch = np.abs(ruder - uncorrected).max(), np.abs(ruder - train(start)).max()  # torch has a schedule
    W1, W2 = layers(ruder)
    accuracy = np.mean((np.tanh(X_test @ W1) @ W2).argmax(axis=1) == Y_test.argmax(axis=1))
    print(f"test accuracy {accuracy:.3f} after {STEPS} steps; largest difference from the textbook's loops: {difference:.1e}")
    print(f"between the two: {between:.1e}; from torch's form, with its schedule: {from_torch:.1e}")
    return {"difference": difference, "accuracy": accuracy, "between the two": between, "torch's form": from_torch}


if __name__ == "__main__":
    main()
