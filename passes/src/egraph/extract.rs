//! Which node of each class is taken: a greedy choice over the whole graph of classes, in which a value that is used twice is
//! paid for once.
//!
//! What is reached through classes without a choice is needed whatever is taken, so it is free for all that uses it. Then, from
//! the root down, each choice takes the node for which the least must be computed that is not needed yet. The best choice of
//! all is hard to find; this one is linear in practice, depends on the e-graph only, and whoever asks for it compares it with
//! what was there before.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// The most classes that are looked at to weigh one node. Beyond them what a class costs alone, as if nothing were shared.
const MOST: usize = 256;

/// A graph of classes, each with the nodes that it can be made by.
pub(super) struct Choices<N> {
    classes: Vec<Class<N>>,
    /// Which walk saw a class last.
    seen: Vec<u32>,
    walks: u32,
}

struct Class<N> {
    nodes: Vec<Choice<N>>,
    /// What the cheapest tree costs.
    tree: i64,
    /// The place in an order in which each class has a node made of earlier classes only: the default choice.
    rank: usize,
    chosen: usize,
}

struct Choice<N> {
    node: N,
    cost: i64,
    operands: Vec<usize>,
}

impl<N> Choices<N> {
    /// `classes` are lists of nodes, each with its cost and the classes that it needs.
    pub(super) fn new(classes: Vec<Vec<(N, i64, Vec<usize>)>>) -> Choices<N> {
        let class = |nodes: Vec<(N, i64, Vec<usize>)>| Class {
            nodes: nodes.into_iter().map(|(node, cost, operands)| Choice { node, cost, operands }).collect(),
            tree: i64::MAX,
            rank: usize::MAX,
            chosen: 0,
        };
        let seen = vec![0; classes.len()];
        let mut choices = Choices { classes: classes.into_iter().map(class).collect(), seen, walks: 0 };
        choices.settle();
        choices
    }

    /// Finds for each class its cheapest tree, as Knuth's generalisation of Dijkstra's algorithm does: classes are settled in
    /// the order of their costs, of equal ones those first that were reached first.
    fn settle(&mut self) {
        let mut users: Vec<Vec<(usize, usize)>> = vec![vec![]; self.classes.len()];
        let mut waiting: Vec<Vec<usize>> = Vec::with_capacity(self.classes.len());
        let mut queue = BinaryHeap::new();
        let mut reached = 0usize;
        for (at, class) in self.classes.iter().enumerate() {
            let mut of_class = vec![];
            for (place, node) in class.nodes.iter().enumerate() {
                node.operands.iter().for_each(|operand| users[*operand].push((at, place)));
                of_class.push(node.operands.len());
                if node.operands.is_empty() {
                    queue.push(Reverse((node.cost, reached, at, place)));
                    reached += 1;
                }
            }
            waiting.push(of_class);
        }
        let mut settled = 0;
        while let Some(Reverse((cost, _, at, place))) = queue.pop() {
            let class = &mut self.classes[at];
            if class.rank < usize::MAX {
                continue;
            }
            (class.tree, class.rank, class.chosen) = (cost, settled, place);
            settled += 1;
            for (user, place) in std::mem::take(&mut users[at]) {
                waiting[user][place] -= 1;
                if waiting[user][place] == 0 {
                    let node = &self.classes[user].nodes[place];
                    let cost = node.operands.iter().fold(node.cost, |sum, operand| sum.saturating_add(self.classes[*operand].tree));
                    queue.push(Reverse((cost, reached, user, place)));
                    reached += 1;
                }
            }
        }
    }

    /// Chooses for all that the root needs.
    pub(super) fn choose(&mut self, root: usize) {
        let mut needed = vec![false; self.classes.len()];
        // Classes with a choice, as they were met on the way from the root.
        let mut open = VecDeque::new();
        // The lowest rank of a class whose choice may use classes of higher ranks.
        let mut lowest = usize::MAX;
        self.need(root, &mut needed, &mut open);
        while let Some(at) = open.pop_front() {
            let mut best: Option<(i64, usize)> = None;
            let default = self.classes[at].chosen;
            for place in 0..self.classes[at].nodes.len() {
                if place != default && self.comes_back(at, place, lowest) {
                    continue;
                }
                let cost = self.more(at, place, &needed);
                // Of equal ones the default choice.
                if best.is_none_or(|(least, chosen)| cost < least || cost == least && place == default && chosen != default) {
                    best = Some((cost, place));
                }
            }
            let Some((_, place)) = best else { continue };
            let rank = self.classes[at].rank;
            if self.classes[at].nodes[place].operands.iter().any(|operand| self.classes[*operand].rank >= rank) {
                lowest = lowest.min(rank);
            }
            self.classes[at].chosen = place;
            for operand in self.classes[at].nodes[place].operands.clone() {
                self.need(operand, &mut needed, &mut open);
            }
        }
    }

    /// Marks a class as needed, and what it needs without a choice.
    fn need(&self, class: usize, needed: &mut [bool], open: &mut VecDeque<usize>) {
        let mut stack = vec![class];
        while let Some(at) = stack.pop() {
            if std::mem::replace(&mut needed[at], true) {
                continue;
            }
            match &self.classes[at].nodes[..] {
                [only] => stack.extend(only.operands.iter().rev()),
                _ => open.push_back(at),
            }
        }
    }

    /// What one node of a class costs with all that is not needed yet, as things are chosen now.
    fn more(&mut self, class: usize, place: usize, needed: &[bool]) -> i64 {
        self.walks += 1;
        let node = &self.classes[class].nodes[place];
        let (mut cost, mut steps) = (node.cost, 0);
        let mut stack: Vec<usize> = node.operands.clone();
        while let Some(at) = stack.pop() {
            if needed[at] || std::mem::replace(&mut self.seen[at], self.walks) == self.walks {
                continue;
            }
            steps += 1;
            let class = &self.classes[at];
            if steps > MOST {
                cost = cost.saturating_add(class.tree);
                continue;
            }
            let chosen = &class.nodes[class.chosen];
            cost = cost.saturating_add(chosen.cost);
            stack.extend(&chosen.operands);
        }
        cost
    }

    /// Whether a class would be made of itself, if it took this node: as far as can be told in a short walk, and yes beyond it.
    ///
    /// Default choices lead to lower ranks only. So what lies below the class and below all other choices does not lead back.
    fn comes_back(&mut self, class: usize, place: usize, lowest: usize) -> bool {
        self.walks += 1;
        let floor = self.classes[class].rank.min(lowest);
        let mut steps = 0;
        let mut stack: Vec<usize> = self.classes[class].nodes[place].operands.clone();
        while let Some(at) = stack.pop() {
            let below = &self.classes[at];
            if at == class || below.rank == usize::MAX || steps > MOST {
                return true;
            }
            if below.rank < floor || std::mem::replace(&mut self.seen[at], self.walks) == self.walks {
                continue;
            }
            steps += 1;
            stack.extend(&below.nodes[below.chosen].operands);
        }
        false
    }

    /// The node that is taken, with its operands.
    pub(super) fn chosen(&self, class: usize) -> (&N, &[usize]) {
        let class = &self.classes[class];
        let choice = &class.nodes[class.chosen];
        (&choice.node, &choice.operands)
    }

    /// The classes that a root needs as things are chosen, operands before their users.
    pub(super) fn order(&self, root: usize) -> Vec<usize> {
        let mut order = vec![];
        let mut seen = vec![false; self.classes.len()];
        let mut stack = vec![(root, 0)];
        while let Some((at, next)) = stack.pop() {
            if next == 0 && std::mem::replace(&mut seen[at], true) {
                continue;
            }
            match self.chosen(at).1.get(next) {
                Some(operand) => stack.extend([(at, next + 1), (*operand, 0)]),
                None => order.push(at),
            }
        }
        order
    }

    /// What a root costs as things are chosen.
    pub(super) fn total(&self, root: usize) -> i64 {
        let cost = |at: &usize| self.classes[*at].nodes[self.classes[*at].chosen].cost;
        self.order(root).iter().map(cost).fold(0, i64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use irc_ir::random::Dice;

    use super::*;

    /// Classes by their nodes, each a cost and operands. A node is known by its place.
    fn choices(classes: &[Vec<(i64, Vec<usize>)>]) -> Choices<usize> {
        let nodes = |class: &Vec<(i64, Vec<usize>)>| {
            class.iter().enumerate().map(|(place, (cost, operands))| (place, *cost, operands.clone())).collect()
        };
        Choices::new(classes.iter().map(nodes).collect())
    }

    /// What a root costs as things are chosen, if nothing is made of itself.
    fn dag_cost(classes: &[Vec<(i64, Vec<usize>)>], chosen: &[usize], root: usize) -> Option<i64> {
        fn visit(classes: &[Vec<(i64, Vec<usize>)>], chosen: &[usize], at: usize, state: &mut [u8]) -> Option<i64> {
            match state[at] {
                1 => return None,
                2 => return Some(0),
                _ => state[at] = 1,
            }
            let (cost, operands) = classes[at].get(chosen[at])?;
            let sum = operands.iter().try_fold(*cost, |sum, operand| Some(sum + visit(classes, chosen, *operand, state)?));
            state[at] = 2;
            sum
        }
        visit(classes, chosen, root, &mut vec![0; classes.len()])
    }

    /// The least cost of all combinations of choices.
    fn least(classes: &[Vec<(i64, Vec<usize>)>], root: usize) -> Option<i64> {
        let mut chosen = vec![0; classes.len()];
        let mut least: Option<i64> = None;
        loop {
            let cost = dag_cost(classes, &chosen, root);
            least = least.into_iter().chain(cost).min();
            let mut next = |at: usize| {
                chosen[at] = (chosen[at] + 1) % classes[at].len();
                chosen[at] > 0
            };
            if !(0..classes.len()).any(&mut next) {
                return least;
            }
        }
    }

    #[test]
    fn what_is_used_twice_is_paid_for_once() {
        // x = x + x, 64 times: as a tree it costs more than a number can say.
        let mut classes = vec![vec![(1, vec![])]];
        classes.extend((0..64).map(|at| vec![(1, vec![at, at])]));
        // Another way to the end that costs 1,000.
        classes[64].push((1_000, vec![]));
        let mut doubled = choices(&classes);
        doubled.choose(64);
        assert_eq!(doubled.total(64), 65);

        // Two reads of one forward of 1,000, or two values of 600.
        let classes =
            [vec![(1_000, vec![])], vec![(10, vec![0]), (600, vec![])], vec![(10, vec![0]), (600, vec![])], vec![(0, vec![1, 2, 0])]];
        let mut reads = choices(&classes);
        reads.choose(3);
        assert_eq!(reads.total(3), 1_020);

        // A part of what is computed in any case, although it would cost more alone.
        let classes = [vec![(100, vec![])], vec![(5, vec![0]), (50, vec![])], vec![(0, vec![0, 1])]];
        let mut part = choices(&classes);
        part.choose(2);
        assert_eq!(part.total(2), 105);
    }

    #[test]
    fn nothing_is_made_of_itself() {
        // Each of two classes is the other one, for nothing, or costs something.
        let classes = [vec![(0, vec![1]), (10, vec![])], vec![(0, vec![0]), (10, vec![])], vec![(0, vec![0, 1])]];
        let mut both = choices(&classes);
        both.choose(2);
        assert_eq!(both.total(2), 10);
        assert_eq!(both.order(2).len(), 3);
    }

    #[test]
    fn as_good_as_all_combinations_nearly_always() {
        let (mut best, mut count) = (0, 0);
        for seed in 0..3_000 {
            let mut dice = Dice::new(seed);
            let len = 2 + dice.below(6);
            let classes: Vec<Vec<(i64, Vec<usize>)>> = (0..len)
                .map(|_| {
                    let node = |dice: &mut Dice| (dice.between(1, 30), (0..dice.below(3)).map(|_| dice.below(len)).collect());
                    (0..1 + dice.below(3)).map(|_| node(&mut dice)).collect()
                })
                .collect();
            let Some(least) = least(&classes, len - 1) else { continue };
            let mut greedy = choices(&classes);
            greedy.choose(len - 1);
            let chosen: Vec<usize> = (0..len).map(|at| *greedy.chosen(at).0).collect();
            let cost = dag_cost(&classes, &chosen, len - 1);
            assert_eq!(cost, Some(greedy.total(len - 1)), "seed {seed}: {classes:?} {chosen:?}");
            assert!(greedy.total(len - 1) >= least, "seed {seed}");
            best += usize::from(greedy.total(len - 1) == least);
            count += 1;
        }
        assert!(count > 1_000 && best * 100 > count * 95, "{best} of {count}");
    }
}
