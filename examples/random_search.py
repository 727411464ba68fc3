"""Random search by hand, learning rate and momentum on a logarithmic scale: softmax regression that reads handwritten digits."""

import numpy as np
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastopt

TRIALS, EPOCHS, BATCH = 30, 5, 64

images, digits = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(images / 16, digits, random_state=0)
X, X_valid, y, y_valid = train_test_split(X, y, random_state=0)  # to choose with; the test is for the choice alone
Y = np.eye(10)[y]


def train(lr, momentum=0.0, by_hand=False):
    rng, W, v = np.random.default_rng(0), np.zeros((64, 10)), np.zeros((64, 10))
    opt = fastopt.SGD(W, lr=lr, momentum=momentum)
    for _ in range(EPOCHS):
        for rows in np.array_split(rng.permutation(len(X)), len(X) // BATCH):
            g = X[rows].T @ (softmax(X[rows] @ W, axis=1) - Y[rows]) / len(rows)  # the mean cross-entropy's
            if by_hand:
                v = momentum * v + g
                W -= lr * v
            else:
                opt.step(g)
    return W


def accuracy(W, X, y):
    return np.mean((X @ W).argmax(axis=1) == y)


def main() -> dict[str, float]:
    rng = np.random.default_rng(0)
    trials = []
    for _ in range(TRIALS):
        lr = 10 ** rng.uniform(-4, 1)  # as likely between 1e-4 and 1e-3 as between 1 and 10
        momentum = 1 - 10 ** rng.uniform(-2, 0)  # as likely between 0.9 and 0.99 as between 0 and 0.9
        trials.append((accuracy(train(lr=lr, momentum=momentum), X_valid, y_valid), lr, momentum))

    trials.sort(reverse=True)
    for valid, lr, momentum in trials[:3] + trials[-1:]:
        print(f"lr {lr:8.4f}, momentum {momentum:.2f}: validation accuracy {valid:.3f}")
    valid, lr, momentum = trials[0]
    W = train(lr=lr, momentum=momentum)
    best, default = accuracy(W, X_test, y_test), accuracy(train(lr=1e-3), X_test, y_test)
    difference = np.abs(W - train(lr, momentum, by_hand=True)).max()
    print(f"test accuracy {best:.3f}; {default:.3f} at the default, lr 0.001 without momentum")
    print(f"largest difference from momentum by hand: {difference:.1e}")
    median = np.median([valid for valid, *_ in trials])
    return {"difference": difference, "accuracy": best, "default's": default, "median's": median}


if __name__ == "__main__":
    main()
