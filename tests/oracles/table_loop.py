"""A recogniser of tables in small, as paddle2onnx writes SLANet: a Loop whose steps read what they wrote.

Each step attends over the features, feeds a GRU with that and with the one-hot of the last step's token, and
writes a row of token scores and one of box places into arrays of all steps. It ends where every picture of
the batch has the closing token, or at a limit. As in such files the weights are states of the loop that stay
as they are, some states begin as scalars and come back as arrays, others begin with what was in memory, and
copies are sums with zero.
"""

from __future__ import annotations

import re

import numpy as np
from onnx import ModelProto
from oracles.networks import parsed

CHANNELS, HIDDEN, TOKENS, PLACES, LIMIT, CLOSING = 4, 3, 5, 7, 5, 4
SHAPES = {
    "w0": (CHANNELS, HIDDEN),
    "w1": (HIDDEN, HIDDEN),
    "b1": (HIDDEN,),
    "w2": (HIDDEN, 1),
    "g0": (3 * HIDDEN, CHANNELS + TOKENS),
    "g1": (3 * HIDDEN, HIDDEN),
    "c0": (3 * HIDDEN,),
    "c1": (3 * HIDDEN,),
    "w3": (HIDDEN, HIDDEN),
    "b3": (HIDDEN,),
    "w4": (HIDDEN, TOKENS),
    "b4": (TOKENS,),
    "w5": (HIDDEN, HIDDEN),
    "b5": (HIDDEN,),
    "w6": (HIDDEN, 4),
    "b6": (4,),
}
# Name in the loop, type, name before the loop. After a step it has a line at its end, or is one of STAY.
STATES = (
    ("written_tokens", f"int32[N,{PLACES}]", "scalar_token"),
    ("written_boxes", f"float[N,{PLACES},4]", "scalar"),
    ("boxes", f"float[N,{PLACES},4]", "boxes_0"),
    ("limit", "int64", "limit_0"),
    ("token", "int32[N]", "token_0"),
    ("over", "bool", "over_0"),
    ("hidden", f"float[N,{HIDDEN}]", "hidden_0"),
    ("written_scores", f"float[N,{PLACES},{TOKENS}]", "scalar"),
    ("step", "int64", "step_0"),
    ("box", "float[N,4]", "memory"),
    ("features", f"float[N,P,{CHANNELS}]", "features_0"),
    ("scores", f"float[N,{PLACES},{TOKENS}]", "scores_0"),
    ("score", f"float[N,{TOKENS}]", "memory"),
    ("tokens", f"int32[N,{PLACES}]", "tokens_0"),
)
STAY = {"limit", "features", *SHAPES}

CONSTANTS = """
  one1 = Constant <value = int64[1] {1}> ()   nought1 = Constant <value = int64[1] {0}> ()
  two1 = Constant <value = int64[1] {2}> ()   three1 = Constant <value = int64[1] {3}> ()
  one = Constant <value = float {1.0}> ()     zero = Constant <value = float[1] {0.0}> ()
  zero32 = Constant <value = int32[1] {0}> ()
"""
STEP = """
  long = Cast <to = 7> (token)
  depth = Constant <value = int32[1] {TOKENS}> ()
  values = Constant <value = float[2] {0.0, 1.0}> ()
  hot = OneHot (long, depth, values)
  f = MatMul (features, w0)
  h = MatMul (hidden, w1)
  hb = Add (h, b1)
  hu = Unsqueeze (hb, one1)
  fh = Add (f, hu)
  t = Tanh (fh)
  e = MatMul (t, w2)
  a = Softmax <axis = 1> (e)
  at = Transpose <perm = [0, 2, 1]> (a)
  m = MatMul (at, features)
  ms = Squeeze (m, one1)
  fed = Concat <axis = 1> (ms, hot)
  g0t = Transpose <perm = [1, 0]> (g0)
  gx = MatMul (fed, g0t)
  gxb = Add (gx, c0)
  g1t = Transpose <perm = [1, 0]> (g1)
  gh = MatMul (hidden, g1t)
  ghb = Add (gh, c1)
  xr, xz, xc = Split <axis = 1> (gxb)
  hr, hz, hc = Split <axis = 1> (ghb)
  sr = Add (xr, hr)
  r = Sigmoid (sr)
  sz = Add (xz, hz)
  z = Sigmoid (sz)
  rh = Mul (r, hc)
  sc = Add (xc, rh)
  c = Tanh (sc)
  d = Sub (hidden, c)
  dz = Mul (d, z)
  new = Add (dz, c)
  s3 = MatMul (new, w3)
  s3b = Add (s3, b3)
  s4 = MatMul (s3b, w4)
  said = Add (s4, b4)
  s5 = MatMul (new, w5)
  s5b = Add (s5, b5)
  s6 = MatMul (s5b, w6)
  s6b = Add (s6, b6)
  placed = Sigmoid (s6b)
  best = ArgMax <axis = 1, keepdims = 0> (said)
  chosen = Cast <to = 6> (best)
"""
END = """
  closing = Constant <value = int32 {CLOSING}> ()
  is_closing = Equal (written_tokens_, closing)
  any32 = Cast <to = 6> (is_closing)
  any_max = ReduceMax <axes = [-1], keepdims = 0> (any32)
  any = Cast <to = 9> (any_max)
  all32 = Cast <to = 6> (any)
  all_min = ReduceMin <axes = [0], keepdims = 0> (all32)
  minus1 = Constant <value = int64[1] {-1}> ()
  all1 = Reshape (all_min, minus1)
  all = Cast <to = 9> (all1)
  none32 = Cast <to = 6> (all)
  closed = Cast <to = 9> (none32)
  ended = If (closed) <
    then_branch = yes () => (bool[1] y) { y = Constant <value = bool[1] {1}> () },
    else_branch = no () => (bool[1] n) {
      no_l = Cast <to = 7> (over)  no_s = Add (no_l, nought1)  n = Cast <to = 9> (no_s)
    }>
  float_step = Cast <to = 1> (step)
  float_next = Add (float_step, one)
  next = Cast <to = 7> (float_next)
  float_limit = Cast <to = 1> (limit)
  float_last = Add (float_limit, one)
  last = Cast <to = 7> (float_last)
  less = Less (next, last)
  open = Not (ended)
  on = And (less, open)
  over_l = Cast <to = 7> (ended)
  over_s = Add (over_l, nought1)
  over_b = Cast <to = 9> (over_s)
  over_ = Squeeze (over_b)
  go_l = Cast <to = 7> (on)
  go_s = Add (go_l, nought1)
  go_b = Cast <to = 9> (go_s)
  go_ = Squeeze (go_b)
"""
BEFORE = """
  active = HardSwish (x)
  x_shape = Shape (x)
  batch = Slice (x_shape, nought1, one1)
  channels = Constant <value = int64[2] {CHANNELS, -1}> ()
  flat = Concat <axis = 0> (batch, channels)
  rows = Reshape (active, flat)
  features_0 = Transpose <perm = [0, 2, 1]> (rows)
  hidden_n = Constant <value = int64[1] {HIDDEN}> ()
  hidden_s = Concat <axis = 0> (batch, hidden_n)
  hidden_0 = ConstantOfShape <value = float[1] {0.0}> (hidden_s)
  scores_n = Constant <value = int64[2] {PLACES, TOKENS}> ()
  scores_s = Concat <axis = 0> (batch, scores_n)
  scores_0 = ConstantOfShape <value = float[1] {0.0}> (scores_s)
  boxes_n = Constant <value = int64[2] {PLACES, 4}> ()
  boxes_s = Concat <axis = 0> (batch, boxes_n)
  boxes_0 = ConstantOfShape <value = float[1] {0.0}> (boxes_s)
  tokens_n = Constant <value = int64[1] {PLACES}> ()
  tokens_s = Concat <axis = 0> (batch, tokens_n)
  tokens_0 = ConstantOfShape <value = int32[1] {0}> (tokens_s)
  token_0 = ConstantOfShape <value = int32[1] {0}> (batch)
  limit_0 = Constant <value = int64 {LIMIT}> ()
  over_0 = Constant <value = bool {0}> ()
  step_0 = Constant <value = int64 {0}> ()
  scalar = Constant <value = float {0.0}> ()
  scalar_token = Constant <value = int32 {0}> ()
  memory = Constant <value = float[1] {1.77113e27}> ()
  bound = Constant <value = int64[1] {1024}> ()
  limit_f = Cast <to = 1> (limit_0)
  limit_one = Add (limit_f, one)
  limit_l = Cast <to = 7> (limit_one)
  under = Less (step_0, limit_l)
  started = Not (over_0)
  go_0 = And (under, started)
"""
AFTER = """
  end_f = Cast <to = 1> (step_end)
  end_one = Add (end_f, one)
  end_l = Cast <to = 7> (end_one)
  end = Reshape (end_l, one1)
  scores_of_all = Slice (written_scores_end, nought1, end, one1, one1)
  structure = Softmax <axis = -1> (scores_of_all)
  places = Slice (written_boxes_end, nought1, end, one1, one1)
"""


def _set(into: str, value: str, last: bool) -> str:
    """`into[:, step] = value`, with an axis behind those of the steps or without."""
    to = f"written_{into}_"
    text = """
      @f = Cast <to = 1> (step)
      @g = Add (@f, one)
      @n = Cast <to = 7> (@g)
      @from = Reshape (step, one1)
      @until = Reshape (@n, one1)
      @shape = Shape (INTO)
      @length = Gather <axis = 0> (@shape, one1)
      @end = Min (@length, @until)
      @part = Slice (INTO, @from, @end, one1, one1)
      @size = Shape (@part)
      @row = Unsqueeze (VALUE, one1)
      @wide = Expand (@row, @size)
      @a = Squeeze (@from)
      @b = Squeeze (@end)
      @c = Squeeze (one1)
      @range = Range (@a, @b, @c)
      @as = Constant <value = AS> ()
      @column = Reshape (@range, @as)
      @rows = Slice (@size, nought1, one1, nought1)
      @last = Slice (@size, two1, three1, nought1)
      @times = Concat <axis = 0> (TIMES)
      @index = Tile (@column, @times)
      TO = ScatterElements <axis = 1> (INTO, @index, @wide)
    """
    shape = "int64[3] {1, -1, 1}" if last else "int64[2] {1, -1}"
    times = "@rows, one1, @last" if last else "@rows, one1"
    text = text.replace("TIMES", times).replace("INTO", into).replace("VALUE", value).replace("AS", shape)
    return text.replace("TO =", f"{to} =").replace("@", f"{into}_set_")


def _copied(value: str, to: str, zero: str) -> str:
    """A value as it is, spelled as a sum with zero."""
    return f"""
      {to}up = Unsqueeze ({value}, nought1)
      {to}sum = Add ({to}up, {zero})
      {to} = Squeeze ({to}sum, nought1)
    """


def model() -> ModelProto:
    """x (N, 4, h, w) to `structure` (N, steps, 5) and `places` (N, steps, 4); how many steps, x decides."""
    rng = np.random.default_rng(1)
    weights = {name: 2 * rng.standard_normal(shape) for name, shape in SHAPES.items()}
    made = (("scores", "said", True), ("boxes", "placed", True), ("tokens", "chosen", False))
    copies = [
        ("new", "hidden_", "zero"),
        ("next", "step_", "nought1"),
        ("placed", "box_", "zero"),
        ("said", "score_", "zero"),
        ("chosen", "token_", "zero32"),
        ("written_scores_", "scores_", "zero"),
        ("written_boxes_", "boxes_", "zero"),
        ("written_tokens_", "tokens_", "zero32"),
    ]
    states = [*STATES, *((n, f"float{list(shape)}", f"{n}_0") for n, shape in SHAPES.items())]
    taken = ", ".join(f"{kind} {name}" for name, kind, _ in states)
    given = ", ".join(f"{kind} {name if name in STAY else name + '_'}" for name, kind, _ in states)
    ends = ", ".join(f"{name}_end" for name, *_ in states)
    steps = "".join([CONSTANTS, STEP, *(_set(*m) for m in made), END, *(_copied(*c) for c in copies)])
    steps = re.sub(r"\b(one1|nought1|two1|three1|one|zero|zero32)\b", r"\1_inside", steps)
    text = f"""(float[N,{CHANNELS},h,w] x) => (float[N,s,{TOKENS}] structure, float[N,t,4] places) {{
      {CONSTANTS} {BEFORE}
      {ends} = Loop (bound, go_0, {", ".join(start for *_, start in states)}) <
        body = step (int64[1] i, bool go, {taken}) => (bool go_, {given}) {{ {steps} }}>
      {AFTER}
    }}"""
    for name in ("CHANNELS", "HIDDEN", "TOKENS", "PLACES", "LIMIT", "CLOSING"):
        text = text.replace(name, str(globals()[name]))
    return parsed(text, opset=14, **{f"{n}_0": w for n, w in weights.items()})
