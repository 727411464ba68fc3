"""A loop over mini-batches, `optimizer.step(gradients)` for each: a neural network that reads handwritten digits."""

import numpy as np
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastopt

EPOCHS, BATCH = 20, 32

images, digits = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split((images / 16).astype(np.float32), digits, random_state=0)
Y = np.eye(10, dtype=np.float32)[y]


def network(seed):
    rng = np.random.default_rng(seed)
    layers = {"W1": (64, 64), "W2": (64, 10)}
    weights = {name: rng.standard_normal(shape, np.float32) * np.float32((2 / 64) ** 0.5) for name, shape in layers.items()}
    return weights | {"b1": np.zeros(64, np.float32), "b2": np.zeros(10, np.float32)}


def forward(w, X):
    hidden = np.maximum(0, X @ w["W1"] + w["b1"])
    return hidden, hidden @ w["W2"] + w["b2"]


def loss_and_gradients(w, rows):  # the mean cross-entropy
    hidden, scores = forward(w, X[rows])
    log_p = log_softmax(scores, axis=1)
    delta = (np.exp(log_p) - Y[rows]) / len(rows)
    back = delta @ w["W2"].T * (hidden > 0)
    gradients = {"W1": X[rows].T @ back, "b1": back.sum(axis=0), "W2": hidden.T @ delta, "b2": delta.sum(axis=0)}
    return -np.mean(np.sum(Y[rows] * log_p, axis=1)), gradients


def train(batch):
    rng, w = np.random.default_rng(0), network(seed=0)
    optimizer = fastopt.Adam(w, lr=1e-3)
    for _ in range(EPOCHS):
        for rows in np.array_split(rng.permutation(len(X)), round(len(X) / batch)):
            _, gradients = loss_and_gradients(w, rows)
            optimizer.step(gradients)
    accuracy = np.mean(forward(w, X_test)[1].argmax(axis=1) == y_test)
    loss, _ = loss_and_gradients(w, np.arange(len(X)))
    print(f"{EPOCHS} epochs in batches of {batch}: {optimizer.steps} steps, loss {loss:.3f}, test accuracy {accuracy:.3f}")
    return loss, accuracy


def main() -> dict[str, float]:
    loss, accuracy = train(BATCH)
    full_loss, full_accuracy = train(len(X))
    return {"loss": loss, "accuracy": accuracy, "full batch's loss": full_loss, "full batch's accuracy": full_accuracy}


if __name__ == "__main__":
    main()
