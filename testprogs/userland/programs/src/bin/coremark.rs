//! coremark: a linked list is sorted and reversed, matrices are multiplied, a state machine reads numbers, a CRC-16 runs
//! over every result.

use userland_programs::{Random, rounds};

fn crc16(crc: u16, value: u32) -> u16 {
    (0..32).fold(crc, |crc, bit| {
        let differ = (u32::from(crc) ^ value >> bit) & 1 == 1;
        if differ { crc >> 1 ^ 0xa001 } else { crc >> 1 }
    })
}

struct Node {
    value: u16,
    index: u16,
    next: Option<Box<Node>>,
}

type List = Option<Box<Node>>;

fn list(random: &mut Random) -> List {
    (0..150).fold(None, |next, index| Some(Box::new(Node { value: random.word() as u16 & 0x3ff, index, next })))
}

fn reverse(mut list: List) -> List {
    let mut done = None;
    while let Some(mut node) = list {
        list = node.next.take();
        node.next = done;
        done = Some(node);
    }
    done
}

fn merge(a: List, b: List) -> List {
    let (mut a, mut b, mut merged) = (a, b, None);
    let mut end = &mut merged;
    while let (Some(x), Some(y)) = (&a, &b) {
        let from = if (x.value, x.index) <= (y.value, y.index) { &mut a } else { &mut b };
        let mut node = from.take().expect("both are there");
        *from = node.next.take();
        end = &mut end.insert(node).next;
    }
    *end = a.or(b);
    merged
}

fn sort(mut list: List) -> List {
    let mut bins: Vec<List> = Vec::new();
    while let Some(mut node) = list {
        list = node.next.take();
        let mut run = Some(node);
        for bin in &mut bins {
            match bin.take() {
                Some(other) => run = merge(Some(other), run),
                None => {
                    *bin = run.take();
                    break;
                }
            }
        }
        if run.is_some() {
            bins.push(run);
        }
    }
    bins.into_iter().fold(None, |sorted, bin| merge(bin, sorted))
}

fn matrices(random: &mut Random, crc: u16) -> u16 {
    const N: usize = 12;
    let mut make = || -> [[i16; N]; N] { std::array::from_fn(|_| std::array::from_fn(|_| random.word() as i16 >> 4)) };
    let (a, b) = (make(), make());
    let mut crc = crc;
    for row in a {
        for column in 0..N {
            let cell: i32 = row.iter().zip(&b).map(|(x, y)| i32::from(*x) * i32::from(y[column])).sum();
            crc = crc16(crc, cell as u32);
        }
    }
    crc
}

/// Counts how the words of a line end: as an integer, a number with a point, with an exponent, or not a number.
fn states(line: &str) -> [u32; 4] {
    let mut counts = [0; 4];
    for word in line.split(',') {
        let state = word.bytes().try_fold(0, |state, c| match (state, c) {
            (state, b'0'..=b'9') => Some(state),
            (0, b'.') => Some(1),
            (0 | 1, b'e') => Some(2),
            _ => None,
        });
        counts[state.unwrap_or(3)] += 1;
    }
    counts
}

fn main() {
    let mut random = Random(0x2026);
    let mut crc = 0;
    for round in 0..rounds(40) {
        let sorted = sort(reverse(list(&mut random)));
        let mut next = &sorted;
        while let Some(node) = next {
            crc = crc16(crc, u32::from(node.value) << 16 | u32::from(node.index));
            next = &node.next;
        }
        crc = matrices(&mut random, crc);
        let line = format!("{},{}.{},5012e4,{}x,-1,{}", round, round * 7, random.word(), round, crc);
        crc = states(&line).into_iter().fold(crc, crc16);
    }
    println!("crc {crc:04x}");
}
