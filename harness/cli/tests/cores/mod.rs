//! What a run comes to where core dumps cannot be seen.

use std::process::Output;

use crate::support::{Folder, checker, stderr};

/// The exit code, and 0 where all that is unknown is what core dumps would have said: sudo takes them away, and on a machine whose root
/// lacks `CAP_SYS_RESOURCE` nobody can give them back.
#[track_caller]
pub fn code(folder: &Folder, output: &Output) -> i32 {
    let code = output.status.code().expect("it ended by itself");
    assert!(
        [0, 1, 2].contains(&code),
        "{code}, and no verdict: {}",
        stderr(output)
    );
    let visible = folder.json("meta.json")["nodes"][0]["cores_visible"].clone();
    if code != 2 || visible != false {
        return code;
    }
    let verdict = folder.json("verdict.json");
    let others_hold = verdict["results"]
        .as_array()
        .expect("results")
        .iter()
        .all(|result| {
            result["checker"] == "crashes"
                || ["valid", "not-applicable"]
                    .contains(&result["verdict"].as_str().expect("a verdict"))
        });
    assert_eq!(checker(&verdict, "crashes")["verdict"], "unknown");
    if others_hold { 0 } else { code }
}
