//! The selftest over a few seeds: every checker finds what it must and nothing else. `harness selftest` takes a thousand.

use harness_checkers::selftest::{families, run, untried};

#[test]
fn every_checker_is_tried() {
    assert!(untried().is_empty(), "{:?}", untried());
}

#[test]
fn every_bug_is_found_and_nothing_else() {
    let lines = run(40, 15, |_| {});
    let expected: usize = families().iter().map(|family| 1 + family.bugs.len()).sum();
    assert_eq!(lines.len(), expected);
    let wrong: Vec<_> = lines.iter().filter(|line| !line.is_right()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unverified: Vec<_> = lines
        .iter()
        .filter(|line| line.cells.iter().any(|cell| cell.unverified > 0))
        .collect();
    assert!(unverified.is_empty(), "{unverified:#?}");
    for line in lines {
        let finders = line.cells.iter().filter(|cell| cell.must_find).count();
        assert_eq!(
            finders > 0,
            line.bug.is_some(),
            "{} {:?}",
            line.family,
            line.bug
        );
        assert!(
            line.cells.iter().all(|cell| cell.of >= 15),
            "{} {:?}",
            line.family,
            line.bug
        );
    }
}
