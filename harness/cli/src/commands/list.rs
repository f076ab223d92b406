//! `harness list` and `harness show`: what is stored.

use harness_core::exit::Exit;
use serde_json::json;

use super::sources;
use crate::{
    args::{ListArgs, ShowArgs},
    failure::{Failure, chain},
    terminal,
};

/// Stored runs, the newest first, also broken ones.
pub fn list(args: ListArgs) -> Result<Exit, Failure> {
    let mut entries = sources::store(&args.results)
        .list()
        .map_err(|error| Failure::usage(chain(&error)))?;
    entries.truncate(args.limit);
    if args.json {
        let all: Vec<_> = entries
            .iter()
            .map(|entry| {
                json!({
                    "id": entry.folder.id(),
                    "name": entry.name,
                    "folder": sources::shown(entry.folder.folder()),
                    "verdict": entry.verdict,
                    "seed": entry.meta.as_ref().map(|meta| format!("{:#x}", meta.seed)),
                    "simulated": entry.meta.as_ref().map(|meta| meta.simulated),
                    "remarks": entry.remarks,
                })
            })
            .collect();
        terminal::print(&serde_json::Value::from(all).to_string());
        return Ok(Exit::Valid);
    }
    if entries.is_empty() {
        terminal::say(&format!(
            "no runs in {}; harness run makes one",
            args.results.join("runs").display()
        ));
    }
    for entry in &entries {
        let word = match entry.verdict {
            Some(verdict) => format!("{} {}", verdict.glyph(), verdict.as_str()),
            None => "- not judged".to_owned(),
        };
        let simulated = entry.meta.as_ref().is_some_and(|meta| meta.simulated);
        terminal::print(&format!(
            "{word:<12} {}  {}{}{}",
            entry.folder.id(),
            entry.name,
            if simulated { "  SIMULATION" } else { "" },
            entry
                .remarks
                .iter()
                .map(|remark| format!("  ({remark})"))
                .collect::<String>()
        ));
    }
    Ok(Exit::Valid)
}

/// What a stored run found, as `run` said it. Exits 0 whatever the verdict: it was asked for, not judged.
pub fn show(args: ShowArgs) -> Result<Exit, Failure> {
    let run = sources::load(&sources::store(&args.results), &args.run)?;
    let verdict = sources::stored_verdict(&run)?;
    sources::with_model(&run, &verdict, |model| {
        sources::print_results(model, args.json);
    });
    Ok(Exit::Valid)
}
