//! json: the crate `serde_json`, typed and untyped.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use userland_programs::{Random, fnv1a, rounds};

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Record {
    id: usize,
    name: String,
    on: Option<bool>,
    at: Vec<f64>,
    tags: BTreeMap<String, i64>,
}

fn record(id: usize, random: &mut Random) -> Record {
    let word = random.word();
    Record {
        id,
        name: format!("n\"{:x}\\ \u{1}é{}", word as u16, char::from_u32(word as u32 & 0x3fff).unwrap_or('-')),
        on: [None, Some(true), Some(false)][word as usize % 3],
        at: (0..word % 5).map(|_| f64::from_bits(random.word() & !(1 << 62))).collect(),
        tags: (0..word >> 8 & 3).map(|i| (format!("t{i}"), random.word() as i64)).collect(),
    }
}

fn main() {
    let mut random = Random(17);
    let records: Vec<Record> = (0..rounds(300)).map(|id| record(id, &mut random)).collect();
    let text = serde_json::to_string_pretty(&records).expect("finite numbers");
    let back: Vec<Record> = serde_json::from_str(&text).expect("just written");
    println!("{} bytes {:016x}, back {}", text.len(), fnv1a(text.as_bytes()), back == records);

    let values: Vec<Value> = serde_json::from_str(&text).expect("just written");
    // A map whose order is random, and what does not depend on it.
    let mut names: HashMap<&str, usize> = HashMap::new();
    for value in &values {
        *names.entry(value["name"].as_str().unwrap_or("")).or_default() += 1;
    }
    let sum: f64 = values.iter().filter_map(|value| value["at"][0].as_f64()).sum();
    println!("{} names, sum {sum:e} {:016x}", names.len(), sum.to_bits());
    let short = Value::from(values).to_string();
    println!("{} bytes {:016x}", short.len(), fnv1a(short.as_bytes()));
    println!("{}", serde_json::from_str::<Value>("{\"a\": [1, 2,, 3]}").expect_err("two commas"));
}
