//! The examples of docs/filters.md say what is so.

use super::*;

#[test]
fn every_example_gives_what_it_says() {
    let page = include_str!("../../../../docs/filters.md");
    let (_, examples) = page.split_once("| expression | data | result |").unwrap();
    let mut tried = 0;
    for line in examples.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        let [expression, data, result] = cells[..] else { panic!("{line}") };
        let expected: serde_json::Value = serde_json::from_str(result).unwrap();
        assert_eq!(value(expression, &event(data)).unwrap(), expected, "{line}");
        tried += 1;
    }
    assert!(tried >= 10, "{tried}");
}
