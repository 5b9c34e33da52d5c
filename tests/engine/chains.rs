//! Random programs that write what they make of a hook's own value: chains of updates, slices, products, sums and differences
//! over it, of which an engine can do most where it computes the hook; and of all operations that work element by element and have
//! the same bits everywhere, for engines that put them into a stage.

use std::sync::OnceLock;

use half::{bf16, f16};
use irc::{
    backends::{
        Handle, Outcome,
        conformance::{
            VOCABULARY, handle, llama, odd,
            program::{Program, hooks, ids},
        },
    },
    ir::{
        attr::Float,
        graph::NodeId,
        model::{ModelBuilder, ModelSpec},
        op::Op,
        plan::Edit,
        random::Dice,
        tensor::Tensor,
        types::DType,
    },
    passes::{Strategy, Target, schedule},
};

/// A program and what to expect of it.
pub struct Chains {
    pub program: Program,
    /// Whether all its numbers are ordinary, so that two engines agree on what comes of them.
    pub tame: bool,
}

impl Chains {
    /// The writes of its lanes, and how many of them an engine can make.
    pub fn counts(&self) -> [usize; 2] {
        let schedule =
            schedule(&self.program.verified(), &Target { edits: true, ..Target::default() }).unwrap_or_else(|error| panic!("{error}"));
        let writes = || schedule.lanes.iter().flat_map(|lane| &lane.writes);
        [writes().count(), writes().filter(|write| write.edit.is_some()).count()]
    }

    /// How many of them an engine makes that takes any chain.
    pub fn spliced(&self, strategy: Strategy) -> usize {
        let target = Target { edits: true, splices: true, strategy, ..Target::default() };
        let schedule = schedule(&self.program.verified(), &target).unwrap_or_else(|error| panic!("{error}"));
        let writes = schedule.lanes.iter().flat_map(|lane| &lane.writes);
        writes.filter(|write| matches!(write.edit, Some(Edit::Chain(_)))).count()
    }
}

/// The program of a seed.
pub fn program(seed: u64) -> Chains {
    made(seed, false)
}

/// The program of a seed, with all operations.
pub fn wide(seed: u64) -> Chains {
    made(seed, true)
}

fn made(seed: u64, wide: bool) -> Chains {
    let mut dice = Dice::new(seed);
    let model = dice.pick(&[llama(), odd(), crowded(), crowded()]);
    let tame = dice.once_in(2);
    let mut maker = Maker { program: Program::new(model), dice, tame, wide, others: vec![], base: NodeId::new(0) };
    maker.make(model);
    Chains { program: maker.program, tame }
}

/// Whether two runs saved the same bits. Where two values that are not numbers meet, which of them comes out depends on the order of
/// the operands in an instruction, so that these count as one.
pub fn same_bits(found: &Outcome, expected: &Outcome) -> Result<(), String> {
    for ((name, found), (_, expected)) in found.saves.iter().zip(&expected.saves) {
        if !found.same_numbers(expected) {
            return Err(format!("`{name}` is {found:?}, not {expected:?}"));
        }
    }
    if found.saves.len() == expected.saves.len() { Ok(()) } else { Err("not all is saved".to_owned()) }
}

/// A model with many hooks of one stage, several of them on one value, in a row and beside each other.
fn crowded() -> &'static Handle {
    static MODEL: OnceLock<Handle> = OnceLock::new();
    MODEL.get_or_init(|| handle(crowded_spec(), 3))
}

fn crowded_spec() -> ModelSpec {
    let mut m = ModelBuilder::new("crowded", DType::F32, VOCABULARY, 64);
    let tokens = m.tokens();
    let x = m.embedding("embed", tokens, VOCABULARY, 6);
    let x = m.hook("embedded", x);
    m.stage("first");
    let x = m.hook("begin", x);
    let a = m.linear("a", x, 6, 6);
    // Operands of one operation and of one value, with hooks above them.
    let (left, right) = (m.hook("left", a), m.hook("right", a));
    let (above, over) = (m.hook("above", left), m.hook("over", right));
    let product = m.mul(left, right);
    let (b, c) = (m.linear("b", above, 6, 6), m.linear("c", over, 6, 6));
    let (b, c) = (m.hook("b", b), m.hook("c", c));
    let sum = m.add(b, c);
    let sum = m.add(sum, product);
    let sum = m.hook("sum", sum);
    let whole = m.hook("whole", sum);
    let one = m.node(Op::Tanh {}, [whole]);
    let one = m.hook("one", one);
    let two = m.hook("two", one);
    let three = m.hook("three", two);
    let x = m.add(three, sum);
    let x = m.hook("end", x);
    m.stage("second");
    let y = m.hook("again", x);
    let y = m.linear("d", y, 6, 6);
    let y = m.hook("inner", y);
    let z = m.add(y, x);
    let logits = m.projection("head", z, 6, VOCABULARY);
    m.finish(logits).expect("the model is right")
}

/// A hook on another hook.
fn above(model: &Handle, hook: &str) -> Option<String> {
    let spec = &model.spec;
    let node = spec.hook_info(spec.hook(hook).ok()?).node;
    let above = spec.hooks().iter().find(|above| spec.graph().node(above.node).operands[0] == node)?;
    Some(above.name.to_string())
}

/// A slice of a tensor.
type Part = (i64, Option<i64>, Option<i64>, i64);

fn slice((dim, start, end, step): Part) -> Op {
    Op::Slice { dim, start, end, step }
}

fn update((dim, start, end, step): Part) -> Op {
    Op::Update { dim, start, end, step }
}

const UNARY: [Op; 13] = [
    Op::Neg {},
    Op::Abs {},
    Op::Sign {},
    Op::Square {},
    Op::Sqrt {},
    Op::Rsqrt {},
    Op::Reciprocal {},
    Op::Floor {},
    Op::Ceil {},
    Op::Round {},
    Op::Trunc {},
    Op::Frac {},
    Op::LeakyRelu { slope: Float::new(0.1) },
];

const BINARY: [Op; 5] = [Op::Div {}, Op::Maximum {}, Op::Minimum {}, Op::Fmod {}, Op::Remainder {}];

const COMPARISONS: [Op; 6] = [Op::Eq {}, Op::Ne {}, Op::Lt {}, Op::Le {}, Op::Gt {}, Op::Ge {}];

struct Maker {
    program: Program,
    dice: Dice,
    tame: bool,
    wide: bool,
    /// Values that were read elsewhere.
    others: Vec<NodeId>,
    /// The forward without writes that the current one began with.
    base: NodeId,
}

impl Maker {
    fn make(&mut self, model: &Handle) {
        let all = hooks(model);
        let common: Vec<String> = (0..3).map(|_| self.dice.pick(&all)).collect();
        let mut saved: Vec<(NodeId, String)> = vec![];
        for _ in 0..1 + self.dice.below(2) {
            let (batch, length) = (1 + self.dice.below(2), 1 + self.dice.below(5));
            let ids = ids(batch, length, &mut self.dice);
            self.base = self.program.forward(&ids);
            let elsewhere = self.dice.pick(&all);
            let other = self.program.read(self.base, &elsewhere);
            self.others.push(other);
            let forwards = if self.wide && !self.dice.once_in(3) { 1 } else { 1 + self.dice.below(3) };
            for _ in 0..forwards {
                let mut forward = self.base;
                let mut aboves = vec![];
                let same = !self.dice.once_in(3);
                for common in common.iter().take(1 + self.dice.below(3)) {
                    let hook = if same { common.clone() } else { self.dice.pick(&all) };
                    forward = self.edited(forward, &hook);
                    // Through a hook on it the engine shows what it made of the value, to the sign of a zero.
                    aboves.extend(above(model, &hook).map(|above| (forward, above)));
                    // What is written is asked of the host, which has to see what was there before.
                    if !self.wide || self.dice.once_in(24) {
                        saved.push((forward, hook));
                    }
                }
                // While a forward is only on the way to another, the engine need not run it.
                let last = self.wide && !self.dice.once_in(24);
                saved.extend(aboves.into_iter().map(|(made, above)| (if last { forward } else { made }, above)));
                saved.push((forward, all[all.len() - 1].clone()));
                saved.push((forward, self.dice.pick(&all)));
            }
        }
        self.apply(model, &all);
        for (at, (forward, hook)) in saved.into_iter().enumerate() {
            let value = self.program.read(forward, &hook);
            self.program.save(format!("{at} {hook}"), value);
        }
    }

    /// A module on what was made of the value that it is computed from.
    fn apply(&mut self, model: &Handle, all: &[String]) {
        let inputs: Vec<&String> = all.iter().filter(|hook| hook.contains("mlp.input")).collect();
        if inputs.is_empty() || self.dice.once_in(2) {
            return;
        }
        let input = self.dice.pick(&inputs);
        let module = input.trim_end_matches(".input");
        assert!(model.spec.module(module).is_ok());
        let value = self.program.read(self.base, input);
        let value = self.chain(value, value, 0);
        let value = self.program.apply(module, value);
        self.program.save("applied", value);
        let target = self.program.read(self.base, &format!("{module}.output"));
        let sum = self.program.add(target, value);
        let forward = self.program.write(self.base, &format!("{module}.output"), sum);
        let value = self.program.read(forward, &all[all.len() - 1]);
        self.program.save("of applied", value);
    }

    /// The forward with a hook made of itself.
    fn edited(&mut self, forward: NodeId, hook: &str) -> NodeId {
        // Rarely of what it was before other writes.
        let from = if self.dice.once_in(if self.wide { 24 } else { 8 }) { self.base } else { forward };
        let own = self.program.read(from, hook);
        let value = match self.program.dtype(own) {
            DType::F32 => self.chain(own, own, 0),
            _ => self.program.changed(own),
        };
        self.program.write(forward, hook, value)
    }

    /// Some operations on a value, which is a part of the hook's own.
    fn chain(&mut self, own: NodeId, part: NodeId, depth: usize) -> NodeId {
        let mut value = part;
        for _ in 0..1 + self.dice.below(3) {
            value = self.step(own, part, value, depth);
        }
        value
    }

    fn step(&mut self, own: NodeId, part: NodeId, value: NodeId, depth: usize) -> NodeId {
        let shape = self.program.shape(value);
        match self.dice.below(if self.wide { 30 } else { 16 }) {
            16.. => self.exact(own, value),
            0..=3 => {
                let place = self.part(&shape);
                let replaced = self.program.op(slice(place), [value]);
                let (sizes, dtype) = (self.program.shape(replaced), self.dice.once_in(4));
                let by = if dtype { self.operand(own, &sizes, true) } else { self.numbers(&sizes) };
                self.program.op(update(place), [value, by])
            }
            4..=7 if depth < 2 => {
                let place = self.part(&shape);
                // Of what there is now, or of what there was, or, rarely, of another place.
                let from = if self.dice.once_in(3) { part } else { value };
                let inner = self.program.op(slice(place), [from]);
                let made = self.chain(own, inner, depth + 1);
                let wrong = (place.0, place.1.map(|start| start - 1), place.2.map(|end| end - 1), place.3);
                let elsewhere = self.program.op(slice(wrong), [value]);
                let misplaced = self.dice.once_in(10) && self.program.shape(elsewhere) == self.program.shape(inner);
                self.program.op(update(if misplaced { wrong } else { place }), [value, made])
            }
            8 | 9 => {
                // Of what is 0 afterwards, each sign counts.
                let by = if self.dice.once_in(3) {
                    let number = self.dice.pick(&[0.0, -0.0, -1.0, 2.0]);
                    self.program.number(number)
                } else if depth > 0 && self.dice.once_in(6) {
                    // A part may become wider: where it is put, it is cast back.
                    self.program.constant(&Tensor::new([1], vec![1.0 / 3.0]))
                } else {
                    self.operand(own, &shape, true)
                };
                let operands = if self.dice.once_in(3) { [by, value] } else { [value, by] };
                self.program.op(Op::Mul {}, operands)
            }
            10..=12 => {
                let by = self.operand(own, &shape, true);
                let operands = if self.dice.once_in(3) { [by, value] } else { [value, by] };
                self.program.op(Op::Add {}, operands)
            }
            13 | 14 => {
                let by = self.operand(own, &shape, false);
                let operands = if self.dice.once_in(6) { [by, value] } else { [value, by] };
                self.program.op(Op::Sub {}, operands)
            }
            _ if self.dice.once_in(4) => self.program.op(Op::Tanh {}, [value]),
            _ => value,
        }
    }

    /// What an operation makes of a value that has the same bits everywhere.
    fn exact(&mut self, own: NodeId, value: NodeId) -> NodeId {
        let shape = self.program.shape(value);
        let by = self.operand(own, &shape, false);
        let pair = if self.dice.once_in(2) { [by, value] } else { [value, by] };
        let bound = |dice: &mut Dice| (!dice.once_in(3)).then(|| Float::new(dice.pick(&[0.0, -0.0, -0.3, 0.7, 1e-42, f64::INFINITY])));
        match self.dice.below(10) {
            0 => self.program.op(Op::Relu {}, [value]),
            1 => {
                let (min, max) = (bound(&mut self.dice), bound(&mut self.dice));
                self.program.op(Op::Clamp { min: min.or(Some(Float::new(-1.0))), max }, [value])
            }
            2 | 3 => {
                let op = self.dice.pick(&UNARY);
                self.program.op(op, [value])
            }
            4 | 5 => {
                let op = self.dice.pick(&BINARY);
                self.program.op(op, pair)
            }
            // Of two values, which is where a third is large, or where a constant says so.
            6..=8 => {
                let mut condition = if self.dice.once_in(3) {
                    let count = shape.iter().product();
                    let bools = Tensor::new(&shape[..], (0..count).map(|_| self.dice.once_in(2)).collect::<Vec<_>>());
                    self.program.constant(&bools)
                } else {
                    let op = self.dice.pick(&COMPARISONS);
                    self.program.op(op, pair)
                };
                if self.dice.once_in(3) {
                    let other = self.program.op(Op::Isfinite {}, [value]);
                    let op = self.dice.pick(&[Op::And {}, Op::Or {}, Op::Xor {}]);
                    condition = self.program.op(op, [condition, other]);
                }
                if self.dice.once_in(3) {
                    condition = self.program.op(Op::Not {}, [condition]);
                }
                let other = self.operand(own, &shape, false);
                let order = if self.dice.once_in(2) { [condition, other, value] } else { [condition, value, other] };
                self.program.op(Op::Select {}, order)
            }
            // A mask is 0 or 1.
            _ => {
                let op = self.dice.pick(&COMPARISONS);
                let mask = self.program.op(op, pair);
                self.program.mul(mask, value)
            }
        }
    }

    /// A range of some dimension: from the front or the back, strided, beyond the end, empty.
    fn part(&mut self, shape: &[usize]) -> Part {
        let dim = self.dice.below(shape.len());
        let size = shape[dim] as i64;
        let mut bound = || (!self.dice.once_in(4)).then(|| self.dice.between(-size - 1, size + 1));
        let (start, end) = (bound(), bound());
        let named = if self.dice.once_in(4) { dim as i64 - shape.len() as i64 } else { dim as i64 };
        (named, start, end, self.dice.between(1, 3))
    }

    /// Something that is broadcast to a shape: numbers of any type, or what depends on the hook itself or was read elsewhere.
    fn operand(&mut self, own: NodeId, shape: &[usize], bools: bool) -> NodeId {
        // What depends on x elsewhere has to be there before the stage runs.
        let kind = if self.wide && !self.dice.once_in(24) { 3 + self.dice.below(5) } else { self.dice.below(8) };
        match kind {
            0 => {
                let count = self.program.shape(own).len() as i64;
                let mean = self.program.op(Op::Mean { dims: (0..count).collect(), keepdim: false }, [own]);
                if self.tame { self.program.op(Op::Tanh {}, [mean]) } else { mean }
            }
            1 if self.program.shape(own) == shape => self.program.op(Op::Tanh {}, [own]),
            2 => {
                let other = self.dice.pick(&self.others);
                let same = self.program.shape(other) == shape && self.program.dtype(other) == DType::F32;
                if same { other } else { self.numbers(shape) }
            }
            3 => {
                let scalar = match self.dice.below(if bools { 5 } else { 4 }) {
                    0 => Tensor::scalar(self.dice.between(-2, 2)),
                    1 => Tensor::scalar(f64::from(self.dice.float()) / 3.0),
                    2 => Tensor::scalar(f16::from_f32(self.dice.float())),
                    3 => Tensor::scalar(bf16::from_f32(self.dice.float())),
                    _ => Tensor::scalar(self.dice.once_in(2)),
                };
                self.program.constant(&scalar)
            }
            4 => {
                let sizes = self.broadcast(shape);
                let count = sizes.iter().product::<usize>();
                let integers = Tensor::new(&sizes, (0..count).map(|_| self.dice.between(-1, 2)).collect::<Vec<_>>());
                let halves = Tensor::new(&sizes, (0..count).map(|_| bf16::from_f32(self.dice.float())).collect::<Vec<_>>());
                let tensor = if self.dice.once_in(2) { integers } else { halves };
                self.program.constant(&tensor)
            }
            _ => self.numbers(shape),
        }
    }

    /// Sizes that are broadcast to these.
    fn broadcast(&mut self, shape: &[usize]) -> Vec<usize> {
        let from = self.dice.below(shape.len() + 1);
        shape[from..].iter().map(|&size| if self.dice.once_in(3) { 1 } else { size }).collect()
    }

    fn numbers(&mut self, shape: &[usize]) -> NodeId {
        const ODD: [f32; 8] = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 1e-42, 1.0];
        let sizes = self.broadcast(shape);
        let odd = if self.tame { usize::MAX } else { self.dice.pick(&[2, 20, usize::MAX]) };
        let number = |dice: &mut Dice| match odd < usize::MAX && dice.once_in(odd) {
            true => dice.pick(&ODD),
            false => dice.float(),
        };
        let values = (0..sizes.iter().product()).map(|_| number(&mut self.dice)).collect::<Vec<f32>>();
        self.program.constant(&Tensor::new(sizes, values))
    }
}
