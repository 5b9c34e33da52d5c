//! Random sessions of patches between forwards that begin alike.

use irc::{
    backends::{
        Handle,
        conformance::{
            VOCABULARY, llama, odd,
            program::{Program, hooks},
        },
    },
    ir::{graph::NodeId, op::Op, random::Dice, tensor::Tensor, types::DType},
};

/// The program of a seed.
pub fn program(seed: u64) -> Program {
    Session::new(seed).program
}

struct Session {
    program: Program,
    dice: Dice,
    model: &'static Handle,
    /// Forwards with their lengths, all of one batch size.
    forwards: Vec<(NodeId, usize)>,
    batch: usize,
}

impl Session {
    fn new(seed: u64) -> Session {
        let mut dice = Dice::new(seed);
        let model = dice.pick(&[llama(), llama(), odd()]);
        let batch = 1 + usize::from(dice.once_in(3));
        let mut session = Session { program: Program::new(model), dice, model, forwards: vec![], batch };
        session.make();
        session
    }

    /// Prompts of which some begin like others.
    fn prompt(&mut self, known: &[Vec<Vec<i64>>]) -> Vec<Vec<i64>> {
        let length = 1 + self.dice.below(9);
        let fresh = |dice: &mut Dice, length: usize| (0..length).map(|_| dice.below(VOCABULARY) as i64).collect::<Vec<_>>();
        let mut rows: Vec<Vec<i64>> = (0..self.batch).map(|_| fresh(&mut self.dice, length)).collect();
        if !known.is_empty() && !self.dice.once_in(4) {
            let like = self.dice.pick(known);
            let alike = self.dice.below(like[0].len().min(length) + 1);
            for (row, like) in rows.iter_mut().zip(&like) {
                row[..alike].copy_from_slice(&like[..alike]);
            }
        }
        rows
    }

    /// A slice of a dimension of this size, not empty.
    fn slice(&mut self, dim: i64, size: usize) -> (i64, i64, i64) {
        let start = self.dice.below(size);
        let end = if self.dice.once_in(2) { start + 1 } else { start + 1 + self.dice.below(size - start) };
        (dim, start as i64, end as i64)
    }

    fn cut(&mut self, x: NodeId, (dim, start, end): (i64, i64, i64)) -> NodeId {
        self.program.op(Op::Slice { dim, start: Some(start), end: Some(end), step: 1 }, [x])
    }

    /// The same, of one index by taking the dimension away and putting it back, now and then.
    fn part(&mut self, x: NodeId, cut: (i64, i64, i64)) -> NodeId {
        let (dim, start, end) = cut;
        if end - start > 1 || self.dice.once_in(2) {
            return self.cut(x, cut);
        }
        let size = self.program.shape(x)[dim as usize] as i64;
        let index = if self.dice.once_in(2) { start } else { start - size };
        let taken = self.program.op(Op::Index { dim, index }, [x]);
        self.program.op(Op::Unsqueeze { dim }, [taken])
    }

    fn put(&mut self, x: NodeId, (dim, start, end): (i64, i64, i64), v: NodeId) -> NodeId {
        self.program.op(Op::Update { dim, start: Some(start), end: Some(end), step: 1 }, [x, v])
    }

    /// What a hook becomes: some of it that of another forward, or something else.
    fn patched(&mut self, own: NodeId, hook: &str) -> NodeId {
        let shape = self.program.shape(own);
        if self.program.dtype(own) == DType::I64 {
            return self.program.changed(own);
        }
        let (other, _) = {
            let forwards = self.forwards.clone();
            self.dice.pick(&forwards)
        };
        let other = self.program.read(other, hook);
        let theirs = self.program.shape(other);
        let fits = shape.iter().zip(&theirs).skip(2).all(|(a, b)| a == b);
        let length = shape[1].min(theirs[1]);
        let mut cuts = vec![];
        if self.dice.once_in(6) && shape == theirs {
            return other;
        }
        if !self.dice.once_in(4) {
            cuts.push(self.slice(1, length));
        }
        if self.dice.once_in(2) {
            let dim = 2 + self.dice.below(shape.len() - 2);
            cuts.push(self.slice(dim as i64, shape[dim].min(theirs[dim])));
        }
        if cuts.is_empty() || !fits || self.dice.once_in(6) {
            let value = self.program.changed(own);
            return if self.dice.once_in(2) { self.program.like(value, &mut Dice::new(7)) } else { value };
        }
        let mut parts = vec![(own, other)];
        for &cut in &cuts {
            let (own, other) = parts[parts.len() - 1];
            let next = (self.cut(own, cut), self.part(other, cut));
            parts.push(next);
        }
        let mut new = parts[parts.len() - 1].1;
        if self.dice.once_in(6) {
            new = self.program.changed(new);
        }
        // A whole dimension of positions of another length would not fit.
        if self.program.shape(new) != self.program.shape(parts[parts.len() - 1].0) {
            return self.program.changed(own);
        }
        for at in (0..cuts.len()).rev() {
            new = self.put(parts[at].0, cuts[at], new);
        }
        new
    }

    fn make(&mut self) {
        let hooks = hooks(self.model);
        let mut prompts = vec![];
        for _ in 0..2 + self.dice.below(3) {
            let rows = self.prompt(&prompts);
            let length = rows[0].len();
            let tokens = Tensor::new([self.batch, length], rows.concat());
            prompts.push(rows);
            let forward = self.program.forward(&tokens);
            self.forwards.push((forward, length));
        }
        for _ in 0..2 + self.dice.below(8) {
            let forwards = self.forwards.clone();
            let (mut forward, length) = self.dice.pick(&forwards);
            for _ in 0..1 + self.dice.below(2) {
                let hook = self.dice.pick(&hooks);
                let own = self.program.read(forward, &hook);
                let value = self.patched(own, &hook);
                forward = self.program.write(forward, &hook, value);
            }
            self.forwards.push((forward, length));
        }
        for at in 0..2 + self.dice.below(8) {
            let forwards = self.forwards.clone();
            let (forward, _) = self.dice.pick(&forwards);
            let hook = if self.dice.once_in(2) { hooks[hooks.len() - 1].clone() } else { self.dice.pick(&hooks) };
            let mut value = self.program.read(forward, &hook);
            if !self.dice.once_in(4) {
                let size = self.program.shape(value)[1];
                let cut = self.slice(1, size);
                value = match self.dice.once_in(3) {
                    true => self.program.op(Op::Index { dim: 1, index: cut.1 - size as i64 }, [value]),
                    false => self.cut(value, cut),
                };
            }
            self.program.save(format!("{at} {hook}"), value);
        }
    }
}
