//! How a program is going to be run, as plain data: which stages of which models, for which rows, in which order.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use smallvec::{SmallVec, smallvec};

use crate::{
    graph::NodeId,
    model::HookId,
    op::Op,
    types::{DType, Name},
    verify::LoopId,
};

/// A lane of a [`Schedule`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaneId(pub u32);

impl LaneId {
    /// The place of the lane in [`Schedule::lanes`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The rows of one or more forwards that are the same so far: a node of a tree that branches where writes differ.
///
/// A lane begins at the stage of its writes and takes what it needs of earlier stages from its parent; of earlier positions, too,
/// where the model is causal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lane {
    /// The program's name for the model.
    pub model: Name,
    /// The value that holds the token ids, i64 [batch, length]; none where no token is looked at (`apply`).
    pub tokens: Option<NodeId>,
    /// The number of sequences.
    pub batch: usize,
    /// The number of tokens of each.
    pub length: usize,
    /// The lane that it branches off.
    pub parent: Option<LaneId>,
    /// The stage that it begins with.
    pub stage: usize,
    /// The position that it begins with: before it, all values are those of its parent. 0 where there is no parent.
    pub first: usize,
    /// The hooks that are set in that stage, in their order.
    pub writes: Vec<Write>,
    /// What is before position 0, where a forward goes on from another.
    pub past: Option<Past>,
    /// The forward whose rows these are, where that comes from outside of the schedule. Its own lane has no parent: nothing of it
    /// is computed here, and what is needed of it was kept ([`Keep`]) by who made it.
    pub given: Option<NodeId>,
}

impl Lane {
    /// Whether all that it has comes from outside of the schedule.
    pub fn is_outside(&self) -> bool {
        self.given.is_some() && self.parent.is_none()
    }
}

/// What is before position 0 of a lane. Only keys and values of it are looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Past {
    /// All positions of another lane, and what is before those.
    Lane(LaneId),
    /// What was before the positions of this forward, which comes from outside.
    Before(NodeId),
}

impl Past {
    /// The lane, where it is one of the schedule.
    pub fn lane(self) -> Option<LaneId> {
        match self {
            Past::Lane(lane) => Some(lane),
            Past::Before(_) => None,
        }
    }
}

/// What is kept of a forward that goes into a loop or comes out of one, besides its token ids.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Keep {
    /// Whether it is extended: then its keys and values, and those before them.
    pub extends: bool,
    /// Values of the model at all its positions.
    pub nodes: BTreeSet<NodeId>,
}

/// A forward that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The forward.
    pub value: NodeId,
    /// The lane that has all its writes.
    pub lane: LaneId,
    /// What of it.
    pub keep: Keep,
}

/// A hook that is set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Which.
    pub hook: HookId,
    /// The value of the program that it is set to, from the position `from` on.
    pub value: NodeId,
    /// The first position that the value has: 0, or one up to which the lane has those of its parent.
    pub from: usize,
    /// How the stage itself makes that value of the one that it computes; where there is nothing, the value is given to it.
    pub edit: Option<Edit>,
}

impl Write {
    /// The values of the program that are needed for it.
    pub fn operands(&self) -> SmallVec<[NodeId; 2]> {
        match &self.edit {
            None => smallvec![self.value],
            Some(Edit::Affine(edit)) => edit.given().collect(),
            Some(Edit::Chain(chain)) => chain.given.iter().filter_map(|given| given.value).collect(),
        }
    }

    /// How the hook comes by its value.
    pub fn form(&self) -> WriteForm {
        match &self.edit {
            None => WriteForm::Given,
            Some(Edit::Affine(_)) => WriteForm::Affine,
            Some(Edit::Chain(chain)) => WriteForm::Chain(chain.form.clone()),
        }
    }
}

/// How a hook that is set comes by its value: what is the same for all lanes that run a stage together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WriteForm {
    /// The value is given.
    Given,
    /// By an [`Affine`] edit.
    Affine,
    /// By a [`Chain`] of this form.
    Chain(Arc<ChainForm>),
}

/// How a stage itself makes a value of the one that it computes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Scaled, shifted and replaced: a session that has been made beforehand can do it.
    Affine(Affine),
    /// By operations that are put into the stage.
    Chain(Chain),
}

/// Operations on a value x where it is computed, each element from those at its place: of x, and of values that are given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// The operations.
    pub form: Arc<ChainForm>,
    /// What they are given, as many as the form has.
    pub given: Vec<ChainGiven>,
}

/// The operations of a [`Chain`], whatever values it is given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChainForm {
    /// The element types of what is given, each of the shape of x: f32 or bool.
    pub given: Vec<DType>,
    /// The operations in their order; the last one gives the value that the hook is set to.
    pub steps: Vec<ChainStep>,
}

/// An operation of a [`ChainForm`]. An update of the program is a `select` here, and a slice, which stays at its place, is none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChainStep {
    /// The operation.
    pub op: Op,
    /// Its operands.
    pub operands: SmallVec<[ChainOperand; 3]>,
}

/// An operand of a [`ChainStep`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChainOperand {
    /// x itself.
    Own,
    /// What an earlier step made.
    Step(usize),
    /// Something that is given.
    Given(usize),
}

/// What a [`Chain`] is given: a tensor of the shape of x that has a value of the program in a part of it, and 0 elsewhere.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ChainGiven {
    /// The value, which is broadcast to the part; none where it is true everywhere in it.
    pub value: Option<NodeId>,
    /// The part of x, each range in the part before.
    pub parts: Vec<Part>,
}

/// A range of a dimension, as a slice of the program has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Part {
    /// The dimension, counted from the last one where it is negative.
    pub dim: i64,
    /// Where it begins.
    pub start: Option<i64>,
    /// Where it ends.
    pub end: Option<i64>,
    /// From one of its elements to the next.
    pub step: i64,
}

impl Part {
    /// What takes it out of a value.
    pub fn slice(self) -> Op {
        let Part { dim, start, end, step } = self;
        Op::Slice { dim, start, end, step }
    }

    /// What puts another value in its place.
    pub fn update(self) -> Op {
        let Part { dim, start, end, step } = self;
        Op::Update { dim, start, end, step }
    }
}

/// An edit of a value x where it is computed: where(mask, value, x * scale + add), element by element.
///
/// The operations are slices, updates, products, sums and differences of the program. They are not evaluated on x, which stays
/// with the engine, but on what scale, add, mask and value are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Affine {
    /// The operations in their order; the last one gives the value that the hook is set to.
    pub steps: Vec<EditStep>,
    /// Whether anything is multiplied.
    pub scales: bool,
    /// Whether anything is added.
    pub adds: bool,
    /// Whether anything is replaced.
    pub replaces: bool,
}

impl Affine {
    /// The values of the program that it takes.
    pub fn given(&self) -> impl Iterator<Item = NodeId> {
        self.steps.iter().flat_map(|step| step.operands).filter_map(Operand::given)
    }
}

/// An operation of an [`Affine`] edit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EditStep {
    /// The node of the program that it is.
    pub node: NodeId,
    /// Its operands; a slice has one.
    pub operands: [Operand; 2],
}

/// An operand of an [`EditStep`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// x itself.
    Own,
    /// What an earlier step made of it.
    Step(usize),
    /// A value of the program.
    Given(NodeId),
    /// There is none.
    Absent,
}

impl Operand {
    /// The value of the program that it is, if it is one.
    pub fn given(self) -> Option<NodeId> {
        match self {
            Operand::Given(value) => Some(value),
            Operand::Own | Operand::Step(_) | Operand::Absent => None,
        }
    }
}

/// A hook whose value the program asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capture {
    /// Of which lane.
    pub lane: LaneId,
    /// At which hook.
    pub hook: HookId,
    /// The value of the program that it is.
    pub value: NodeId,
    /// Which positions of each sequence it shows; all of them for scores and pattern.
    pub positions: Range<usize>,
}

/// A stage of a model, run for some lanes at once: their tokens travel as one flat batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageStep {
    /// The program's name for the model.
    pub model: Name,
    /// Which stage.
    pub stage: usize,
    /// For which lanes. All of them set the same hooks in this stage.
    pub lanes: Vec<LaneId>,
    /// For each of them, the positions of its sequences that are computed, none of which its parent has.
    pub positions: Vec<Range<usize>>,
    /// The values that the stage takes from earlier stages; and the model's token ids, if it looks at them.
    pub inputs: Vec<NodeId>,
    /// The values that later stages take from it.
    pub outputs: Vec<NodeId>,
    /// What the program asks for inside it.
    pub captures: Vec<Capture>,
}

/// Positions in their order, each range with the lane that has it.
pub type Pieces = SmallVec<[(LaneId, Range<usize>); 2]>;

/// A value of the program whose positions several lanes have computed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The value of the program.
    pub value: NodeId,
    /// The node of the model that it is.
    pub node: NodeId,
    /// Its positions in their order, each range with the lane that has it.
    pub pieces: Pieces,
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Run a stage.
    Stage(Box<StageStep>),
    /// Put a value of the program together.
    Join(Box<Joined>),
    /// Keep what a loop needs of a forward.
    Keep(Kept),
    /// Evaluate an operation on the host, or run a loop.
    Host(NodeId),
    /// Evaluate operations on the host that work element by element on tensors of one shape, in their order. Only the value of
    /// the last one is used by others.
    Kernel(Vec<NodeId>),
    /// Do an entry of the effect list.
    Effect(usize),
}

/// Everything that is going to be done, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schedule {
    /// The rows of forwards.
    pub lanes: Vec<Lane>,
    /// What to do; whatever a step needs is there before it.
    pub steps: Vec<Step>,
    /// For each node of the program, the node that stands for its value: equal values are computed once.
    pub values: Vec<NodeId>,
    /// For each entry of the effect list, the node that stands for its result, where something needs it.
    pub results: Vec<Option<NodeId>>,
    /// The forward passes that the program asks for, as a tool counts them that runs it as it is written.
    pub forwards: usize,
    /// For each loop, what is kept of its operands that are forwards, by their place: of each one as much as the body and who uses
    /// the loop's results need of it in any iteration.
    pub loops: BTreeMap<LoopId, Vec<Keep>>,
    /// Writes that change nothing, and so are not made: the hook, and the value that it has anyway.
    pub identities: Vec<(HookId, NodeId)>,
    /// Stages times lanes in which something is computed.
    pub stages_run: usize,
    /// Stages that those passes would run, each whole and alone, with the stages of applied modules.
    pub stages_whole: usize,
    /// Tokens that go through position-wise stages, over all stages.
    pub token_stages: usize,
    /// Tokens that would do so in those passes.
    pub token_stages_whole: usize,
}

impl Schedule {
    /// [`lane_at`] of its lanes.
    pub fn lane_at(&self, lane: LaneId, stage: usize, position: usize) -> LaneId {
        lane_at(&self.lanes, lane, stage, position).0
    }

    /// [`key_pieces`] of its lanes.
    pub fn key_pieces(&self, lane: LaneId, stage: usize, end: usize) -> Vec<KeyPiece> {
        key_pieces(&self.lanes, lane, stage, end)
    }

    /// [`pieces`] of its lanes.
    pub fn pieces(&self, lane: LaneId, stage: usize, positions: Range<usize>) -> Pieces {
        pieces(&self.lanes, lane, stage, positions)
    }
}

/// The smallest range that holds both.
pub fn hull(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}

/// The lane that made the value of a stage that a lane has at a position: itself from its first stage and first position on,
/// before that its parent. It holds for the positions up to the second result.
pub fn lane_at(lanes: &[Lane], mut lane: LaneId, stage: usize, position: usize) -> (LaneId, usize) {
    let mut end = usize::MAX;
    while let info = &lanes[lane.index()]
        && let Some(parent) = info.parent
        && (stage < info.stage || position < info.first)
    {
        if stage >= info.stage {
            end = end.min(info.first);
        }
        lane = parent;
    }
    (lane, end)
}

/// The lanes that made the value of a stage that a lane has at some positions, each with its part of them: at least one, which
/// may be empty.
pub fn pieces(lanes: &[Lane], lane: LaneId, stage: usize, positions: Range<usize>) -> Pieces {
    if positions.is_empty() {
        return smallvec![(lane_at(lanes, lane, stage, usize::MAX).0, 0..0)];
    }
    let mut pieces = Pieces::new();
    let mut at = positions.start;
    while at < positions.end {
        let (maker, end) = lane_at(lanes, lane, stage, at);
        let end = end.min(positions.end);
        pieces.push((maker, at..end));
        at = end;
    }
    pieces
}

/// Some of the keys and values that queries look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyPiece {
    /// Those that a lane made at these of its positions.
    Made(LaneId, Range<usize>),
    /// Those of a forward from outside, at these of its own positions.
    Given(NodeId, Range<usize>),
    /// All that were before that forward's own positions.
    Before(NodeId),
}

/// The keys of a stage that a lane looks at up to one of its own positions, those of its past first.
pub fn key_pieces(lanes: &[Lane], lane: LaneId, stage: usize, end: usize) -> Vec<KeyPiece> {
    // The lane, then what it goes on from, to the first one.
    let mut chain = vec![(lane, end)];
    let mut all = vec![];
    while let Some((last, _)) = chain.last() {
        match lanes[last.index()].past {
            Some(Past::Lane(before)) => chain.push((before, lanes[before.index()].length)),
            Some(Past::Before(given)) => {
                all.push(KeyPiece::Before(given));
                break;
            }
            None => break,
        }
    }
    for (lane, end) in chain.into_iter().rev() {
        all.extend(pieces(lanes, lane, stage, 0..end).into_iter().map(|(maker, positions)| match lanes[maker.index()] {
            Lane { given: Some(given), parent: None, .. } => KeyPiece::Given(given, positions),
            _ => KeyPiece::Made(maker, positions),
        }));
    }
    all
}
