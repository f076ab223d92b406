//! A lab of a test's own.

use crate::support::harness;

/// A fresh lab, taken down again also if the test fails: other tests want one with another image.
pub struct Lab;

impl Lab {
    pub fn new() -> Self {
        down();
        Self
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        down();
    }
}

fn down() {
    let output = harness().args(["lab", "down"]).output();
    output.expect("the binary starts");
}
