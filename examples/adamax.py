"""AdaMax as the textbook divides, by u + eps: softmax regression that reads handwritten digits."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastopt

LR, BETA1, BETA2, EPS, EPOCHS, BATCH = 2e-2, 0.9, 0.999, 1e-8, 10, 64


def main() -> dict[str, float]:
    images, digits = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(images / 16, digits, random_state=0)
    Y = np.eye(10)[y]
    order = np.concatenate([np.random.default_rng(epoch).permutation(len(X)) for epoch in range(EPOCHS)])
    batches = np.split(order, range(BATCH, len(order), BATCH))

    def gradient(W, batch):  # the mean cross-entropy's
        P = np.exp(X[batch] @ W)
        return X[batch].T @ (P / P.sum(axis=1, keepdims=True) - Y[batch]) / len(batch)

    W, m, u = (np.zeros((64, 10)) for _ in range(3))
    for t, batch in enumerate(batches, start=1):
        g = gradient(W, batch)
        m = BETA1 * m + (1 - BETA1) * g
        u = np.maximum(BETA2 * u, np.abs(g))
        W -= LR / (1 - BETA1**t) * m / (u + EPS)  # u is 0 where a pixel has always been blank

    p = np.zeros((64, 10))
    opt = fastopt.Adamax(p, lr=LR, betas=(BETA1, BETA2), eps=EPS, eps_in_max=False)
    inside = np.zeros((64, 10))
    torch_opt = fastopt.Adamax(inside, lr=LR, betas=(BETA1, BETA2), eps=EPS)  # torch adds eps to |g|, inside the maximum
    for batch in batches:
        opt.step(gradient(p, batch))
        torch_opt.step(gradient(inside, batch))

    accuracy = np.mean((X_test @ p).argmax(axis=1) == y_test)
    difference, from_torch = np.abs(p - W).max(), np.abs(p - inside).max()
    print(f"test accuracy {accuracy:.3f} after {opt.steps} steps of {BATCH} images, coefficients up to {np.abs(p).max():.2f}")
    print(f"largest difference from the textbook's loop: {difference:.1e}")
    print(f"from torch's form, eps={EPS} inside the maximum: {from_torch:.1e}")
    return {"difference": difference, "accuracy": accuracy, "torch's form": from_torch}


if __name__ == "__main__":
    main()
