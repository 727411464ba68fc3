"""A loop over mini-batches, `optimizer.step(gradients)` for each: a neural network that reads handwritten digits, with Adam."""

import numpy as np
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastopt

EPOCHS, BATCH, LR, BETA1, BETA2, EPS = 20, 32, 1e-3, 0.9, 0.999, 1e-8

images, digits = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(images / 16, digits, random_state=0)
Y = np.eye(10)[y]


class TextbookAdam:
    def __init__(self, w):
        self.w, self.t = w, 0
        self.m, self.v = ({name: np.zeros_like(a) for name, a in w.items()} for _ in range(2))

    def step(self, gradients):
        self.t += 1
        for name, g in gradients.items():
            self.m[name] = BETA1 * self.m[name] + (1 - BETA1) * g
            self.v[name] = BETA2 * self.v[name] + (1 - BETA2) * g**2
            m_hat, v_hat = self.m[name] / (1 - BETA1**self.t), self.v[name] / (1 - BETA2**self.t)
            self.w[name] -= LR * m_hat / (np.sqrt(v_hat) + EPS)


def gradients_of(w, rows):  # the mean cross-entropy's
    hidden = np.maximum(0, X[rows] @ w["W1"] + w["b1"])
    delta = (softmax(hidden @ w["W2"] + w["b2"], axis=1) - Y[rows]) / len(rows)
    back = delta @ w["W2"].T * (hidden > 0)
    return {"W1": X[rows].T @ back, "b1": back.sum(axis=0), "W2": hidden.T @ delta, "b2": delta.sum(axis=0)}


def train(make_optimizer, batch=BATCH):
    rng = np.random.default_rng(0)
    w = {name: rng.standard_normal(shape) * (2 / 64) ** 0.5 for name, shape in {"W1": (64, 64), "W2": (64, 10)}.items()}
    w |= {"b1": np.zeros(64), "b2": np.zeros(10)}
    optimizer = make_optimizer(w)
    for _ in range(EPOCHS):
        for rows in np.array_split(rng.permutation(len(X)), round(len(X) / batch)):
            optimizer.step(gradients_of(w, rows))
    return w, np.mean((np.maximum(0, X_test @ w["W1"] + w["b1"]) @ w["W2"] + w["b2"]).argmax(axis=1) == y_test)


def main() -> dict[str, float]:
    w, accuracy = train(lambda w: fastopt.Adam(w, lr=LR, betas=(BETA1, BETA2), eps=EPS))
    difference = max(np.abs(w[name] - a).max() for name, a in train(TextbookAdam)[0].items())
    _, full = train(lambda w: fastopt.Adam(w, lr=LR), batch=len(X))
    print(f"{EPOCHS} epochs: test accuracy {accuracy:.3f} by batches of {BATCH}, {full:.3f} by a step for each epoch")
    print(f"largest difference from the textbook's loop: {difference:.1e}")
    return {"difference": difference, "accuracy": accuracy, "full batch's accuracy": full}


if __name__ == "__main__":
    main()
