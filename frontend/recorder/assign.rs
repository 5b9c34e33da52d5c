//! In-place assignment as a pure value: `x[views] = v` is a new x, through the views in reverse.

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    infer::normalise_axis,
    op::Op,
    tensor::Tensor,
    types::{Dim, Type, elements},
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
        let mut at = views.len();
        while let Some(last) = at.checked_sub(1) {
            at = last;
            let (of, showing) = (seen[at], seen[at + 1]);
            value = match views[at].0 {
                Op::Slice { dim, start, end, step } => self.add(Op::Update { dim, start, end, step }, [of, value], span),
                Op::Index { dim, index } => {
                    let value = self.with_dim(value, fits, of, showing, dim, span);
                    let end = if index == -1 { None } else { index.checked_add(1) };
                    self.add(Op::Update { dim, start: Some(index), end, step: 1 }, [of, value], span)
                }
                // One piece of a split, which is the view before it.
                Op::Get { index } if at > 0 => {
                    at -= 1;
                    self.with_piece(seen[at], of, &views[at].0, index, value, span)
                }
                _ => {
                    let value = if fits { value } else { self.fitted(value, showing, span) };
                    match &views[at].0 {
                        Op::Transpose { dim0, dim1 } => self.add(Op::Transpose { dim0: *dim0, dim1: *dim1 }, [value], span),
                        Op::Unsqueeze { dim } => self.add(Op::Index { dim: *dim, index: 0 }, [value], span),
                        Op::Permute { dims } => self.add(Op::Permute { dims: inverse(dims) }, [value], span),
                        Op::Diagonal { offset, dim0, dim1 } => self.with_diagonal(of, value, [*offset, *dim0, *dim1], span),
                        Op::Expand { .. } if !self.same_count(of, showing) => self.refused(
                            of,
                            span,
                            "an expanded view cannot be set: several of its elements are one element of the tensor",
                            "set the tensor itself, which the value is broadcast to",
                        ),
                        Op::Split { .. } | Op::Chunk { .. } => {
                            self.refused(of, span, "all pieces of a split cannot be set at once", "set each piece, or the tensor itself")
                        }
                        Op::Squeeze { .. } if self.same_type(of, showing) => value,
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

    /// Whether two terms surely have as many elements.
    fn same_count(&self, a: TermId, b: TermId) -> bool {
        let count = |term: TermId| self.terms[term.0].ty.as_ref()?.as_tensor().map(|ty| elements(&ty.shape));
        count(a).is_some() && count(a) == count(b)
    }

    /// Keeps a mistake; what was to be set stays as it is.
    fn refused(&mut self, of: TermId, span: &Span, message: &str, help: &str) -> TermId {
        let error = Diagnostic::error(Code::E1005, message).label(span.clone(), "").label(self.terms[of.0].span.clone(), "");
        self.errors.push(error.help(help));
        of
    }

    /// `whole` with piece `index` of a split replaced. The last piece may be smaller, and an update ends where its tensor does.
    fn with_piece(&mut self, whole: TermId, pieces: TermId, split: &Op, index: i64, value: TermId, span: &Span) -> TermId {
        let size_of = |at: usize, dim: i64| {
            let Some(Type::Tuple(parts)) = &self.terms[pieces.0].ty else { return None };
            let part = parts.get(at)?.as_tensor()?;
            part.shape[normalise_axis(dim, part.rank())?].as_known()
        };
        let position = usize::try_from(index).ok();
        let place = match split {
            Op::Split { size: Some(size), dim, .. } => {
                position.and(index.checked_mul(*size)).map(|start| (start, start.saturating_add(*size), *dim))
            }
            Op::Split { dim, .. } | Op::Chunk { dim, .. } => position.and_then(|position| {
                let start = (0..position).try_fold(0, |start: i64, at| start.checked_add(size_of(at, *dim)?))?;
                Some((start, start.checked_add(size_of(position, *dim)?)?, *dim))
            }),
            _ => None,
        };
        match place {
            Some((start, end, dim)) => self.add(Op::Update { dim, start: Some(start), end: Some(end), step: 1 }, [whole, value], span),
            None => self.refused(
                whole,
                span,
                "a piece cannot be set before the size of what is split is known",
                "set a slice instead, or trace token ids instead of a prompt",
            ),
        }
    }

    /// `whole` with a diagonal replaced, by the ids of its rows and columns.
    fn with_diagonal(&mut self, whole: TermId, value: TermId, [offset, dim0, dim1]: [i64; 3], span: &Span) -> TermId {
        let known = self.terms[whole.0].ty.as_ref().and_then(|ty| {
            let ty = ty.as_tensor()?;
            let (a, b) = (normalise_axis(dim0, ty.rank())?, normalise_axis(dim1, ty.rank())?);
            Some((ty.rank(), a, b, ty.shape[a].as_known()?, ty.shape[b].as_known()?))
        });
        let Some((rank, a, b, rows, columns)) = known.filter(|(_, a, b, ..)| a != b) else {
            let help = "trace token ids instead of a prompt";
            return self.refused(whole, span, "a diagonal cannot be set before the sizes of the matrix are known", help);
        };
        let (row, column) = (offset.min(0).saturating_neg(), offset.max(0));
        let length = (rows.saturating_sub(row)).min(columns.saturating_sub(column)).max(0);
        let ids = |recorder: &mut Recorder, first: i64| {
            let first = if length == 0 { 0 } else { first };
            let value = Tensor::new([length as usize], (first..first + length).collect::<Vec<i64>>());
            recorder.op_term(Op::Const { value: (&value).into() }, vec![], span.clone())
        };
        let (row, column) = (ids(self, row), ids(self, column));
        // The diagonal is the last dimension of the view, and stands elsewhere in what ids pick.
        let place = if a.abs_diff(b) == 1 { a.min(b) } else { 0 };
        let mut dims: Vec<i64> = (0..rank as i64 - 2).collect();
        dims.insert(place, rank as i64 - 2);
        let value = self.add(Op::Permute { dims }, [value], span);
        self.add(Op::IndexPut { dims: vec![dim0, dim1], accumulate: false }, [whole, value, row, column], span)
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
    pub(super) fn without_leading_ones(&mut self, value: TermId, target: TermId, span: &Span) -> TermId {
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

/// The order that undoes an order of dimensions; what is none is the verifier's to find.
fn inverse(dims: &[i64]) -> Vec<i64> {
    let at = |place: usize| dims.iter().position(|&dim| normalise_axis(dim, dims.len()) == Some(place));
    (0..dims.len()).map(|place| at(place).map_or(place as i64, |at| at as i64)).collect()
}
