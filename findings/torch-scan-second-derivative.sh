#!/usr/bin/env bash
# The second derivative through torch's scan lacks terms, and says nothing: one half of a Hessian is zero
#
# Versions: torch 2.13.0 (CPU), numpy 2.4.6
#
# Behaviour: the product of three numbers is computed by torch.prod and as the last state of a scan. Value and gradient
# agree. The gradient that autograd makes of the scan with create_graph=True requires a gradient, as one that can be
# differentiated again does, and its derivative is wrong: one triangle of the Hessian is there and the other is zero.
# torch.autograd.functional.hessian answers the same. There is no error and no warning; gradcheck passes, and
# gradgradcheck alone finds it.
#
# Output seen, of x1 x2 x3 at (1, 2, 3), whose Hessian is symmetric as any:
#   by prod:  [[0, 3, 2], [3, 0, 1], [2, 1, 0]]
#   by scan:  [[0, 3, 2], [0, 0, 1], [0, 0, 0]]
#
# What the documentation says: scan is a "prototype feature", and one "may run into miscompiles"; of second derivatives
# it says nothing. Of create_graph: "graph of the derivative will be constructed, allowing to compute higher order
# derivative products".
#
# Why it matters: curvature, influence functions and penalties on explanations (a gradient's own gradient) are second
# derivatives. Through recurrent layers that are written as a scan, as those of text recognisers may be, they are
# numbers of the right shape and size that are the derivative of nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from torch._higher_order_ops.scan import scan

print("torch", torch.__version__)


def by_scan(x):
    return scan(lambda state, element: (state * element, state.clone()), torch.ones((), dtype=x.dtype), x)[0]


def derivatives(f, x):
    """The value, the gradient and the Hessian, which autograd makes in two ways."""
    x = x.clone().requires_grad_()
    value = f(x)
    (first,) = torch.autograd.grad(value, x, create_graph=True)
    assert first.requires_grad
    second = torch.stack([torch.autograd.grad(g, x, retain_graph=True)[0] for g in first])
    assert torch.equal(second, torch.autograd.functional.hessian(f, x.detach()))
    return value.item(), first.tolist(), second.tolist()


def passes(check, f, x):
    return check(f, (x.clone().requires_grad_(),), raise_exception=False)


numbers = torch.tensor([1, 2, 3], dtype=torch.float64)
seen = {}
for name, f in {"prod": torch.prod, "scan": by_scan}.items():
    checks = [passes(c, f, numbers) for c in (torch.autograd.gradcheck, torch.autograd.gradgradcheck)]
    seen[name] = (*derivatives(f, numbers), *checks)
    print(name, *seen[name])
recorded = {
    "prod": (6, [6, 3, 2], [[0, 3, 2], [3, 0, 1], [2, 1, 0]], True, True),
    "scan": (6, [6, 3, 2], [[0, 3, 2], [0, 0, 1], [0, 0, 0]], True, False),
}
sys.exit(0 if seen == recorded else "not what is recorded")
PY
