"""What is done with lists of tensors, as bodies of graphs from x, its Tanh h and a slice s of this to y."""

LISTS = {
    "perhaps": "o = Optional (x) l = OptionalGetElement (o) y = Sin (l)",
    "stacked": "l = SequenceConstruct (x, h, x) c = ConcatFromSequence <axis = 0, new_axis = 1> (l)"
    " q = Mul (c, c) y = ReduceSum <keepdims = 0> (q, front)",
    "joined": "l = SequenceConstruct (x, s, h) c = ConcatFromSequence <axis = 1> (l) y = Sin (c)",
    "one": "l = SequenceConstruct (x, h, x) a = SequenceAt (l, last_one) b = SequenceAt (l, one)"
    " y = Mul (a, b)",
    "put between": "l = SequenceConstruct (x, h) k = SequenceInsert (l, s, last_one)"
    " c = ConcatFromSequence <axis = 1> (k) y = Sin (c)",
    "put at the end": "l = SequenceConstruct (x, h) k = SequenceInsert (l, s)"
    " c = ConcatFromSequence <axis = 1> (k) y = Sin (c)",
    "taken out": "l = SequenceConstruct (x, s, h) k = SequenceErase (l, last_but_one) m = SequenceErase (l)"
    " c = ConcatFromSequence <axis = 1> (k) d = ConcatFromSequence <axis = 1> (m)"
    " e = Concat <axis = 1> (c, d) y = Sin (e)",
    "cut": "l = SplitToSequence <axis = 1> (x, parts) a = SequenceAt (l, nil) b = SequenceAt (l, one)"
    " c = Mul (a, b) y = Concat <axis = 1> (c, b)",
    "cut in single ones": "l = SplitToSequence <axis = 1, keepdims = 0> (x) a = SequenceAt (l, one)"
    " c = ConcatFromSequence <axis = 0, new_axis = 1> (l) d = Mul (c, a) y = Sin (d)",
    "each": """l = SequenceConstruct (x, s)
        m = SequenceMap (l) <body = each (double[2,K] e) => (double[2,K] f) { g = Mul (e, e) f = Sin (g) }>
        y = ConcatFromSequence <axis = 1> (m)""",
    "appended in a loop": """empty = SequenceEmpty <dtype = 11> ()
        t, l = Loop (trips, yes, x, empty) <body = round (int64 i, bool go, double[2,3] a, seq(double[2,3]) k)
            => (bool again, double[2,3] n, seq(double[2,3]) k2) {
            m = MatMul (a, W) n = Tanh (m) k2 = SequenceInsert (k, n) again = Identity (go)
        }> y = ConcatFromSequence <axis = 1> (l)""",
    "appended to a list": """begin = SequenceConstruct (h, x)
        t, l = Loop (trips, yes, x, begin) <body = round (int64 i, bool go, double[2,3] a, seq(double[2,3]) k)
            => (bool again, double[2,3] n, seq(double[2,3]) k2) {
            m = MatMul (a, W) n = Tanh (m) k2 = SequenceInsert (k, n) again = Identity (go)
        }> y = ConcatFromSequence <axis = 1> (l)""",
    "read in a loop": """l = SequenceConstruct (x, h, x)
        t = Loop (trips, yes, x) <body = round (int64 i, bool go, double[2,3] a)
            => (bool again, double[2,3] n) {
            e = SequenceAt (l, i) m = Mul (a, e) n = Sin (m) again = Identity (go)
        }> y = Mul (t, h)""",
    "in a branch": """l = SequenceConstruct (x, h)
        k = If (yes) <then_branch = a () => (seq(double[2,3]) b) { b = SequenceInsert (l, x) },
                      else_branch = c () => (seq(double[2,3]) d) { d = SequenceErase (l) }>
        y = ConcatFromSequence <axis = 1> (k)""",
}
