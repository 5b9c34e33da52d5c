//! In-place assignment as a pure value: `x[views] = v` is a new x, through the views in reverse.

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    infer::normalise_axis,
    op::Op,
    types::{Dim, Type},
};

use super::{Recorder, TermId};

impl Recorder {
    /// `whole` with the part that `views` lead to replaced by `value`, which is broadcast and cast to it.
    pub(super) fn assign(&mut self, whole: TermId, views: &[(Op, Span)], value: TermId, span: &Span) -> TermId {
        // What each view looks at, and what the last one shows.
        let mut seen = vec![whole];
        for (op, place) in views {
            let of = self.view_term(op, seen[seen.len() - 1], place);
            seen.push(of);
        }
        let shown = seen[seen.len() - 1];
        let mut value = self.without_leading_ones(value, shown, span);
        // Whether the value has the type of what it replaces. An update makes it fit, so the outer views need not ask.
        let mut fits = self.same_type(value, shown);
        for (at, (op, _)) in views.iter().enumerate().rev() {
            let (of, showing) = (seen[at], seen[at + 1]);
            value = match *op {
                Op::Slice { dim, start, end, step } => self.add(Op::Update { dim, start, end, step }, [of, value], span),
                Op::Index { dim, index } => {
                    let value = self.with_dim(value, fits, of, showing, dim, span);
                    let end = if index == -1 { None } else { index.checked_add(1) };
                    self.add(Op::Update { dim, start: Some(index), end, step: 1 }, [of, value], span)
                }
                _ => {
                    let value = if fits { value } else { self.fitted(value, showing, span) };
                    match *op {
                        Op::Transpose { dim0, dim1 } => self.add(Op::Transpose { dim0, dim1 }, [value], span),
                        Op::Unsqueeze { dim } => self.add(Op::Index { dim, index: 0 }, [value], span),
                        _ => self.reshaped_back(value, of, span),
                    }
                }
            };
            fits = true;
        }
        if fits { value } else { self.fitted(value, whole, span) }
    }

    fn add<const N: usize>(&mut self, op: Op, operands: [TermId; N], span: &Span) -> TermId {
        self.op_term(op, operands.to_vec(), span.clone())
    }

    fn rank(&self, term: TermId) -> Option<usize> {
        self.terms[term.0].ty.as_ref()?.as_tensor().map(|ty| ty.rank())
    }

    /// Whether two terms surely have one type.
    fn same_type(&self, a: TermId, b: TermId) -> bool {
        self.terms[a.0].ty.is_some() && self.terms[a.0].ty == self.terms[b.0].ty
    }

    /// The value broadcast and cast to the type of `like`.
    fn fitted(&mut self, value: TermId, like: TermId, span: &Span) -> TermId {
        let all = Op::Update { dim: 0, start: None, end: None, step: 1 };
        if self.rank(like) == Some(0) {
            // A tensor without dimensions has no part to update.
            let row = self.add(Op::Unsqueeze { dim: 0 }, [like], span);
            let row = self.add(all, [row, value], span);
            return self.add(Op::Index { dim: 0, index: 0 }, [row], span);
        }
        self.add(all, [like, value], span)
    }

    /// The value without dimensions that the target does not have, where they come first and are 1: assignment in PyTorch
    /// allows them.
    fn without_leading_ones(&mut self, value: TermId, target: TermId, span: &Span) -> TermId {
        let Some(rank) = self.rank(target) else { return value };
        let mut value = value;
        while let Some(Type::Tensor(ty)) = &self.terms[value.0].ty
            && ty.rank() > rank
            && ty.shape[0] == Dim::known(1)
        {
            value = self.add(Op::Index { dim: 0, index: 0 }, [value], span);
        }
        value
    }

    /// The value with the dimension that `showing`, one index of `of`, lacks.
    fn with_dim(&mut self, value: TermId, fits: bool, of: TermId, showing: TermId, dim: i64, span: &Span) -> TermId {
        let rank = self.rank(of);
        let at = rank.and_then(|rank| normalise_axis(dim, rank));
        if dim == 0 || at == Some(0) {
            // Broadcasting adds first dimensions by itself.
            return value;
        }
        let exactly = |recorder: &mut Recorder, value| recorder.add(Op::Unsqueeze { dim }, [value], span);
        if fits {
            return exactly(self, value);
        }
        // A value with fewer dimensions is aligned at the last one, so there the new one counts from the last, too.
        let after = rank.zip(at).map(|(rank, at)| rank - 1 - at);
        match (after, self.rank(value), self.rank(showing)) {
            (Some(_), Some(rank), Some(full)) if rank == full => exactly(self, value),
            (Some(after), Some(rank), _) if rank > after => self.add(Op::Unsqueeze { dim: -1 - after as i64 }, [value], span),
            (Some(_), Some(_), _) => value,
            _ => {
                let value = self.fitted(value, showing, span);
                exactly(self, value)
            }
        }
    }

    /// The value, which was reshaped from the type of `like`, in that shape again.
    fn reshaped_back(&mut self, value: TermId, like: TermId, span: &Span) -> TermId {
        let shape = match &self.terms[like.0].ty {
            Some(Type::Tensor(ty)) => ty.shape.to_vec(),
            // The verifier will say what is wrong with it.
            _ => vec![Dim::known(-1)],
        };
        if shape.iter().filter(|dim| dim.as_known().is_none()).count() > 1 {
            let message = "a reshaped view cannot be set before the number of tokens is known";
            let error = Diagnostic::error(Code::E1005, message).label(span.clone(), "").label(self.terms[like.0].span.clone(), "");
            self.errors.push(error.help("set the tensor without reshaping it, or trace token ids instead of a prompt"));
        }
        let sizes = shape.iter().map(|dim| if dim.as_known().is_some() { dim.clone() } else { Dim::known(-1) });
        let op = Op::Reshape { shape: sizes.collect() };
        self.add(op, [value], span)
    }
}
