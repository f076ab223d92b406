//! Stacks onto which no value is pushed twice: decided in O(n log n), without a search.
//!
//! A value is surely on the stack from the return of its push to the call of its pop; one that was never popped counts as popped
//! after everything else. One whose push and pop overlap can be pushed and popped at one point, so it disturbs nobody. The others:
//!
//! ```text
//! 1  push ├──┤═══════════════├────┤ pop        ═ surely on the stack
//! 2     push ├──┤═════├──┤ pop                 here the stack is never empty from the end of push 1 to the
//! 3            push ├──┤══├──┤ pop             begin of pop 1: whoever is at the bottom stays there
//! ```
//!
//! - Where no value is surely on the stack it may as well be empty: what lies before and behind are two histories of their own.
//! - Where some value always is, one of them lies at the bottom all the time. Its push began before any push of the others
//!   had ended, and its pop ended after any pop of the others had begun. Whoever is so can be at the bottom: moved there it gets in
//!   nobody's way. It is taken out, and the rest is looked at again. If nobody is, there is no legal order.
//!
//! The problem is that of Lee and Mathur (Efficient Decrease-and-Conquer Linearizability Monitoring, arXiv 2410.04581) and of LiMo
//! (PLDI 2025); the steps are argued here, and tested against brute force on all small histories. That a pop which found nothing is a
//! question of its own is shown by Bouajjani, Emmi, Enea and Hamza (ICALP 2015).

use super::aspects::{Element, Fault, NEVER};

/// Elements that all tries to make a dead end smaller may look at together.
const SHRINK_LIMIT: usize = 4_000_000;
/// Elements of a dead end that are named.
const NAMED_LIMIT: usize = 32;

/// An element that is surely there for a while: it was pushed by `from` and popped from `to` on.
#[derive(Clone, Copy)]
struct Stay {
    /// Its place among the elements.
    element: usize,
    push_call: u64,
    from: u64,
    to: u64,
    pop_return: u64,
}

/// Elements that cannot have been on one stack, if there are any; few of them, if they are to be told.
pub(super) fn buried(elements: &[Element], tell: bool) -> Option<Fault> {
    let stays: Vec<Stay> = (0..)
        .zip(elements)
        .filter(|(_, element)| element.put_return < element.take_call)
        .map(|(at, element)| Stay {
            element: at,
            push_call: element.put_call.into(),
            from: element.put_return.into(),
            to: element.take_call.into(),
            // A pop that has not ended, like one that never began, may come last of all.
            pop_return: match element.take_return {
                NEVER => u64::from(NEVER) + 1,
                known => known.into(),
            },
        })
        .collect();
    let mut stuck = dead_end(stays)?;
    if tell {
        stuck = smaller(stuck);
    }
    let mut entries = Vec::new();
    for stay in stuck.iter().take(NAMED_LIMIT) {
        let element = &elements[stay.element];
        entries.push(element.put);
        if element.take_call != NEVER {
            entries.push(element.take);
        }
    }
    let because = "of the values that were on the stack while it was never empty, none can have been both pushed first and popped last";
    Some(Fault {
        entries,
        because: because.to_owned(),
    })
}

/// A part of a dead end that is one too, and as small as can be if it was not too large.
fn smaller(mut stuck: Vec<Stay>) -> Vec<Stay> {
    let mut looked_at = 0;
    let mut piece = stuck.len() / 2;
    while piece > 0 {
        let (before, mut at) = (stuck.len(), 0);
        while at < stuck.len() && looked_at < SHRINK_LIMIT {
            looked_at += stuck.len();
            let rest = [&stuck[..at], &stuck[(at + piece).min(stuck.len())..]].concat();
            match dead_end(rest) {
                Some(fewer) => stuck = fewer,
                None => at += piece,
            }
        }
        if piece > 1 || stuck.len() == before {
            piece /= 2;
        }
    }
    stuck
}

/// Those of a stretch without an empty stack of which none can lie at the bottom.
fn dead_end(mut stays: Vec<Stay>) -> Option<Vec<Stay>> {
    stays.sort_unstable_by_key(|stay| stay.from);
    let mut moments: Vec<u64> = stays.iter().flat_map(|stay| [stay.from, stay.to]).collect();
    moments.sort_unstable();
    moments.dedup();
    let place = |moment: u64| moments.partition_point(|known| *known < moment);
    let mut cover = Cover::new(moments.len());
    for stay in &stays {
        cover.add(place(stay.from), place(stay.to), 1);
    }
    // Those that began too late to lie at the bottom; and, of those that did not, how late they ended.
    let mut late = Least::new(stays.iter().map(|stay| stay.push_call));
    let mut early = Least::new(stays.iter().map(|_| u64::MAX));
    let mut open = vec![(0, moments.len().saturating_sub(1))];
    while let Some((first, end)) = open.pop() {
        if first >= end {
            continue;
        }
        if let Some(gap) = cover.free(first, end) {
            open.push((gap + 1, end));
            open.push((first, gap));
            continue;
        }
        let (from, to) = (moments[first], moments[end]);
        let low = stays.partition_point(|stay| stay.from < from);
        let high = stays.partition_point(|stay| stay.from < to);
        while let Some((at, push_call)) = late.least(low, high)
            && push_call < from
        {
            late.set(at, u64::MAX);
            early.set(at, u64::MAX - stays[at].pop_return);
        }
        match early.least(low, high) {
            Some((at, ended)) if u64::MAX - ended > to => {
                early.set(at, u64::MAX);
                cover.add(place(stays[at].from), place(stays[at].to), -1);
                // It is gone for good: an empty stay is never looked at again.
                stays[at].to = stays[at].from;
                open.push((first, end));
            }
            _ => {
                stays.retain(|stay| stay.from >= from && stay.from < to && stay.from < stay.to);
                return Some(stays);
            }
        }
    }
    None
}

/// How many values are surely there between one moment and the next: a tree over these gaps, with sums on the way down.
struct Cover {
    size: usize,
    /// Of a node: what was added to all below it, and the least below it with that.
    added: Vec<i64>,
    least: Vec<i64>,
}

impl Cover {
    fn new(gaps: usize) -> Self {
        let size = gaps.next_power_of_two().max(1);
        Self {
            size,
            added: vec![0; 2 * size],
            least: vec![0; 2 * size],
        }
    }

    fn add(&mut self, first: usize, end: usize, number: i64) {
        self.add_below(1, (0, self.size), (first, end), number);
    }

    fn add_below(
        &mut self,
        node: usize,
        (low, high): (usize, usize),
        range: (usize, usize),
        number: i64,
    ) {
        if range.0 >= high || range.1 <= low {
            return;
        }
        if range.0 <= low && high <= range.1 {
            self.added[node] += number;
            self.least[node] += number;
            return;
        }
        let middle = usize::midpoint(low, high);
        self.add_below(2 * node, (low, middle), range, number);
        self.add_below(2 * node + 1, (middle, high), range, number);
        self.least[node] = self.added[node] + self.least[2 * node].min(self.least[2 * node + 1]);
    }

    /// The first gap of the range in which nothing is there for sure.
    fn free(&self, first: usize, end: usize) -> Option<usize> {
        self.free_below(1, (0, self.size), (first, end), 0)
    }

    fn free_below(
        &self,
        node: usize,
        (low, high): (usize, usize),
        range: (usize, usize),
        above: i64,
    ) -> Option<usize> {
        if range.0 >= high || range.1 <= low || above + self.least[node] > 0 {
            return None;
        }
        if high - low == 1 {
            return Some(low);
        }
        let middle = usize::midpoint(low, high);
        let above = above + self.added[node];
        self.free_below(2 * node, (low, middle), range, above)
            .or_else(|| self.free_below(2 * node + 1, (middle, high), range, above))
    }
}

/// The least of a range of words that change.
struct Least {
    size: usize,
    /// By node: the place of the least below it.
    place: Vec<u32>,
    words: Vec<u64>,
}

impl Least {
    fn new(words: impl Iterator<Item = u64>) -> Self {
        let words: Vec<u64> = words.collect();
        let size = words.len();
        let mut tree = Self {
            size,
            place: vec![0; 2 * size],
            words,
        };
        for at in 0..size {
            tree.place[size + at] = at as u32;
        }
        for node in (1..size).rev() {
            tree.choose(node);
        }
        tree
    }

    fn choose(&mut self, node: usize) {
        let (one, other) = (self.place[2 * node], self.place[2 * node + 1]);
        let other_is_less = self.words[other as usize] < self.words[one as usize];
        self.place[node] = if other_is_less { other } else { one };
    }

    fn set(&mut self, at: usize, word: u64) {
        self.words[at] = word;
        let mut node = (self.size + at) / 2;
        while node > 0 {
            self.choose(node);
            node /= 2;
        }
    }

    /// The least of these places that is not the largest word, and where it stands.
    fn least(&self, low: usize, high: usize) -> Option<(usize, u64)> {
        let mut found: Option<u32> = None;
        let mut look = |place: u32| {
            let less = |known: u32| self.words[place as usize] < self.words[known as usize];
            if found.is_none_or(less) {
                found = Some(place);
            }
        };
        let (mut low, mut high) = (low + self.size, high + self.size);
        while low < high {
            if low % 2 == 1 {
                look(self.place[low]);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                look(self.place[high]);
            }
            low /= 2;
            high /= 2;
        }
        let at = found? as usize;
        (self.words[at] != u64::MAX).then_some((at, self.words[at]))
    }
}

#[cfg(test)]
mod tests {
    use harness_core::seed::Seed;
    use rand::Rng;

    use super::*;

    /// What happens at a moment: to which value (the remainder by 4 says what).
    const PUSH: usize = 0;
    const PUSHED: usize = 1;
    const POP: usize = 2;
    const POPPED: usize = 3;

    fn elements(events: &[usize], values: usize) -> Vec<Element> {
        let mut elements = vec![
            Element {
                put: 0,
                put_call: NEVER,
                put_return: NEVER,
                take: 0,
                take_call: NEVER,
                take_return: NEVER,
            };
            values
        ];
        for (place, event) in (1..).zip(events) {
            let element = &mut elements[event / 4];
            match event % 4 {
                PUSH => element.put_call = place,
                PUSHED => element.put_return = place,
                POP => element.take_call = place,
                _ => element.take_return = place,
            }
        }
        elements
    }

    /// Tries all orders: which operations were taken, and what is on the stack.
    fn orders(elements: &[Element], taken: u32, stack: &mut Vec<usize>) -> bool {
        let all = |at: usize| {
            let element = &elements[at / 2];
            match at % 2 {
                0 => (element.put_call, element.put_return),
                _ => (element.take_call, element.take_return),
            }
        };
        let left = |at: &usize| taken & (1 << at) == 0 && all(*at).0 != NEVER;
        let end = (0..2 * elements.len())
            .filter(left)
            .map(|at| all(at).1)
            .min()
            .unwrap_or(NEVER);
        if end == NEVER {
            return true;
        }
        let next: Vec<usize> = (0..2 * elements.len())
            .filter(left)
            .filter(|at| all(*at).0 < end)
            .collect();
        next.into_iter().any(|at| {
            if at % 2 == 0 {
                stack.push(at / 2);
                let found = orders(elements, taken | 1 << at, stack);
                stack.pop();
                found
            } else if stack.last() == Some(&(at / 2)) {
                stack.pop();
                let found = orders(elements, taken | 1 << at, stack);
                stack.push(at / 2);
                found
            } else {
                false
            }
        })
    }

    /// Both ways; whether there is an order.
    fn both(events: &[usize], values: usize) -> bool {
        let elements = elements(events, values);
        // A value that ends before it begins is another fault, found elsewhere.
        let sound = elements
            .iter()
            .all(|element| element.take_return == NEVER || element.put_call < element.take_return);
        if !sound {
            return false;
        }
        let exists = orders(&elements, 0, &mut Vec::new());
        let fault = buried(&elements, true);
        assert_eq!(exists, fault.is_none(), "{events:?}");
        exists
    }

    /// All histories of that many values, up to the order of calls, and of returns, that follow one another directly.
    fn each(events: &mut Vec<usize>, values: usize, counts: &mut [usize; 2]) {
        let seen = |event: usize, events: &[usize]| events.contains(&event);
        if (0..values).all(|value| seen(4 * value + PUSHED, events)) {
            counts[usize::from(both(events, values))] += 1;
        }
        for event in 0..4 * values {
            let (value, what) = (event / 4, event % 4);
            let ends = what % 2 == 1;
            let fits = !seen(event, events)
                && (!ends || seen(event - 1, events))
                && (what != PUSH || value == 0 || seen(4 * (value - 1), events))
                && events
                    .last()
                    .is_none_or(|last| (last % 2 == 1) != ends || *last < event);
            if fits {
                events.push(event);
                each(events, values, counts);
                events.pop();
            }
        }
    }

    #[test]
    fn all_histories_of_up_to_three_values() {
        for values in 1..=3 {
            let mut counts = [0, 0];
            each(&mut Vec::new(), values, &mut counts);
            println!("{values} values: {counts:?} without and with an order");
            assert!(counts[1] > 0 && (values < 2 || counts[0] > 0), "{counts:?}");
        }
    }

    #[test]
    fn random_histories_of_more_values() {
        let mut counts = [0, 0];
        for seed in 0..30_000 {
            let mut rng = Seed(seed).stream("stacks").draw(0);
            let values = rng.random_range(4..8);
            let mut next = vec![PUSH; values];
            let mut events = Vec::new();
            // Few at a time, so that many have an order.
            let width = rng.random_range(2..5);
            for _ in 0..rng.random_range(2 * values..8 * values) {
                let open = (0..values)
                    .filter(|value| next[*value] <= POPPED)
                    .take(width);
                let open: Vec<usize> = open.collect();
                let Some(value) = open.get(rng.random_range(0..open.len().max(1))) else {
                    break;
                };
                events.push(4 * value + next[*value]);
                next[*value] += 1;
            }
            counts[usize::from(both(&events, values))] += 1;
        }
        println!("{counts:?} without and with an order");
        assert!(counts[0] > 1_000 && counts[1] > 1_000, "{counts:?}");
    }
}
