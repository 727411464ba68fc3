"""RMSprop with a cache for each parameter, dx/(sqrt(cache) + eps): a neural network on three spirals that no line separates."""

import numpy as np
from scipy.special import softmax

import fastopt

LR, DECAY, EPS, STEPS, HIDDEN = 1e-2, 0.99, 1e-8, 500, 100

rng = np.random.default_rng(0)
radius = np.tile(np.linspace(0, 1, 100), 3)
angle = np.linspace(0, 12, 300) + 0.2 * rng.standard_normal(300)  # 100 points over 4 radians for each of three arms
X = np.column_stack([radius * np.sin(angle), radius * np.cos(angle)])
y = np.repeat(np.arange(3), 100)
Y = np.eye(3)[y]


def network():
    rng = np.random.default_rng(0)
    weights = {"W1": rng.standard_normal((2, HIDDEN)), "W2": rng.standard_normal((HIDDEN, 3)) / HIDDEN**0.5}
    return weights | {"b1": np.zeros(HIDDEN), "b2": np.zeros(3)}


def forward(w):
    hidden = np.tanh(X @ w["W1"] + w["b1"])
    return hidden, hidden @ w["W2"] + w["b2"]


def gradients(w):  # the mean cross-entropy's
    hidden, scores = forward(w)
    delta = (softmax(scores, axis=1) - Y) / len(X)
    back = delta @ w["W2"].T * (1 - hidden**2)
    return {"W1": X.T @ back, "b1": back.sum(axis=0), "W2": hidden.T @ delta, "b2": delta.sum(axis=0)}


def main() -> dict[str, float]:
    w, p = network(), network()
    cache = {name: np.zeros_like(a) for name, a in w.items()}
    opt = fastopt.RMSprop(p, lr=LR, alpha=DECAY, eps=EPS)
    for _ in range(STEPS):
        for name, dx in gradients(w).items():
            cache[name] = DECAY * cache[name] + (1 - DECAY) * dx**2
            w[name] -= LR * dx / (np.sqrt(cache[name]) + EPS)
        opt.step(gradients(p))

    lines = np.zeros((2, 3))  # softmax regression: lines through the middle
    opt = fastopt.RMSprop(lines, lr=LR, alpha=DECAY, eps=EPS)
    for _ in range(STEPS):
        opt.step(X.T @ (softmax(X @ lines, axis=1) - Y) / len(X))

    difference = max(np.abs(p[name] - w[name]).max() for name in p)
    accuracy, linear = (np.mean(scores.argmax(axis=1) == y) for scores in (forward(p)[1], X @ lines))
    print(f"accuracy {accuracy:.3f} on the training points after {STEPS} steps; {linear:.3f} with lines alone")
    print(f"largest difference from the textbook's loop: {difference:.1e}")
    return {"difference": difference, "accuracy": accuracy, "linear": linear}


if __name__ == "__main__":
    main()
