"""Nadam without a schedule, in the two forms that the textbooks print: a small neural network that tells three wines apart."""

import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

import fastopt

LR, BETA1, BETA2, EPS, STEPS = 2e-3, 0.9, 0.999, 1e-8, 200

X, y = load_wine(return_X_y=True)
X, X_test, y, y_test = train_test_split((X - X.mean(axis=0)) / X.std(axis=0), y, random_state=0)
Y = np.eye(3)[y]


def network():
    rng = np.random.default_rng(0)
    return {"hidden": rng.standard_normal((13, 16)) / 13**0.5, "output": rng.standard_normal((16, 3)) / 16**0.5}


def gradients(w):  # of the mean cross-entropy
    hidden = np.tanh(X @ w["hidden"])
    P = np.exp(hidden @ w["output"])
    delta = (P / P.sum(axis=1, keepdims=True) - Y) / len(X)
    return {"hidden": X.T @ (delta @ w["output"].T * (1 - hidden**2)), "output": hidden.T @ delta}


def textbook(corrected):
    w = network()
    m, v = ({name: np.zeros_like(a) for name, a in w.items()} for _ in range(2))
    for t in range(1, STEPS + 1):
        for name, g in gradients(w).items():
            m[name] = BETA1 * m[name] + (1 - BETA1) * g
            v[name] = BETA2 * v[name] + (1 - BETA2) * g**2
            m_hat, v_hat = m[name] / (1 - BETA1**t), v[name] / (1 - BETA2**t)
            g_hat = g / (1 - BETA1**t) if corrected else g
            w[name] -= LR * (BETA1 * m_hat + (1 - BETA1) * g_hat) / (np.sqrt(v_hat) + EPS)
    return w


def train(**arguments):
    w = network()
    opt = fastopt.NAdam(w, lr=LR, betas=(BETA1, BETA2), eps=EPS, **arguments)
    for _ in range(STEPS):
        opt.step(gradients(w))
    return w


def apart(a, b):
    return max(np.abs(a[name] - b[name]).max() for name in a)


def main() -> dict[str, float]:
    ruder = train(momentum_decay=None, lookahead_correction="same")
    uncorrected = train(momentum_decay=None, lookahead_correction="momentum only")
    difference = max(apart(ruder, textbook(corrected=True)), apart(uncorrected, textbook(corrected=False)))
    between, from_torch = apart(ruder, uncorrected), apart(ruder, train())  # torch has a schedule of the momentum
    accuracy = np.mean((np.tanh(X_test @ ruder["hidden"]) @ ruder["output"]).argmax(axis=1) == y_test)
    print(f"test accuracy {accuracy:.3f} after {STEPS} steps")
    print(f"largest difference from the textbook's loops: {difference:.1e}")
    print(f"between the two: {between:.1e}; from torch's form, with its schedule: {from_torch:.1e}")
    return {"difference": difference, "accuracy": accuracy, "between the two": between, "torch's form": from_torch}


if __name__ == "__main__":
    main()
