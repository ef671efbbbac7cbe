//! regex: the crate `regex`: literals by vectors (memchr, Teddy), automata for the rest.

use regex::{Regex, RegexSet};
use userland_programs::{fnv1a, rounds, text};

const EXPRESSIONS: [&str; 8] = [
    r"[a-z]+@[a-z]+\.[a-z]{2,7}",
    r"0x[0-9a-f]+",
    r"(?i)(ONE|another)\s+after",
    r"\b(the|then) (?P<m>m\w*|f\w*)",
    r"(\d{4})-(\d\d)-(\d\d)",
    r"machine|instruction|retires",
    r"gr\p{L}+er",
    r"(a|of)( (a|of|Seite|fault))+$",
];

fn main() {
    let text = text(1000 * rounds(60), 11);
    for expression in EXPRESSIONS {
        let regex = Regex::new(&format!("(?m){expression}")).expect("correct");
        let mut found = String::new();
        let mut matches = 0;
        for captures in regex.captures_iter(&text) {
            matches += 1;
            captures.iter().flatten().for_each(|part| found.push_str(part.as_str()));
        }
        println!("{expression:<32} {matches:>6} matches {:016x}", fnv1a(found.as_bytes()));
    }
    let set = RegexSet::new(EXPRESSIONS).expect("correct");
    let lines: Vec<u8> = text.lines().map(|line| set.matches(line).iter().fold(0, |bits, at| bits | 1 << at)).collect();
    println!("{} lines {:016x}", lines.len(), fnv1a(&lines));
    let dates = Regex::new(EXPRESSIONS[4]).expect("correct");
    println!("{:016x}", fnv1a(dates.replace_all(&text, "$3.$2.$1").as_bytes()));
}
