"""Wrong turns of newcomers, and how the errors end: in what to type instead."""

import numpy as np
import torch

import fastopt
import fastopt.sklearn

p, g = np.ones((2, 3), np.float32), np.full((2, 3), 0.5, np.float32)
layers = {"dense": {"w": p}}
model = torch.nn.Linear(3, 2)
opt = fastopt.SGD(p)

TURNS = {  # what is typed: how the error ends
    "fastopt.AdamW(model.parameters())": "for a torch model write fastopt.torch.AdamW(model.parameters(), ...)",
    "fastopt.SGD(list(model.parameters()))": "for a torch model write fastopt.torch.SGD(model.parameters(), ...)",
    "fastopt.torch.AdamW(model)": "pass model.parameters()",
    "fastopt.AdamW([1.0, 2.0])": "params = np.array(params, np.float32)",
    "fastopt.AdamW(layers)": '{f"{layer}.{key}": w for layer, inner in params.items() for key, w in inner.items()}',
    "fastopt.AdamW([(p, g)])": "params = [w for layer in params for w in layer]",
    "fastopt.AdamW(w for w in [p])": "write list(params)",
    "fastopt.AdamW(np.zeros(3, int))": "params = params.astype(np.float32) is a copy: use it from then on",
    "fastopt.AdamW(p.T)": "params = np.ascontiguousarray(params) is a copy: use it from then on",
    "opt.step(np.asfortranarray(g))": "pass np.ascontiguousarray(grads)",
    "opt.step(g.astype(np.float64))": "pass grads.astype(np.float32)",
    "opt.step(g[None])": "pass grads.reshape((2, 3))",
    "opt.step(g.T)": "pass np.ascontiguousarray(grads.T)",
    "opt.step(torch.ones(3, 2).T)": "pass grads.contiguous()",
    "opt.step([[0.5] * 3] * 2)": "pass np.array(grads, np.float32)",
    "opt.step(np.ones((64, 2, 3), np.float32))": "pass grads.sum(0)",
    "fastopt.AdamW(p, learning_rate=1e-3)": "did you mean lr?",
    "fastopt.Adam(p, beta_1=0.9)": "did you mean betas=(beta_1, beta_2)?",
    "fastopt.Adam(p, nesterov=True)": "did you mean fastopt.NAdam(params, momentum_decay=None)? This is optax's nadam",
    "fastopt.Adam(p, weigth_decay=0.1)": "did you mean weight_decay?",
    "fastopt.SGD(p, clipnorm=1.0)": "max_norm all together by their joint norm, as Keras' global_clipnorm does",
    "fastopt.SGD(p, decay=1e-4)": "did you mean lr=fastopt.schedules.inverse_time(lr, decay_rate=decay)?",
    "setattr(opt, 'learning_rate', 0.1)": "did you mean opt.lr?",
    "opt.zero_grad()": "did you mean opt.step(grads, zero_grad=True)? This leaves zeros in the gradients, which are yours",
    "fastopt.schedules.cosine(0.1, T_max=100)": "did you mean steps?",
    "fastopt.minimize(lambda x: x @ x, [1.0], maxiter=9)": "did you mean steps?",
    "fastopt.sklearn.MLPClassifier(solver='adam')": "did you mean optimizer?",
}


def main():
    unexpected = 0
    for turn, ending in TURNS.items():
        try:
            eval(turn)
            words = ""
        except (AttributeError, TypeError, ValueError) as error:
            words = str(error)
        unexpected += not words.endswith(ending)
        print(f"{turn}\n    {words}")
    return {"unexpected": unexpected}


if __name__ == "__main__":
    main()
