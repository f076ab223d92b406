//! `harness report`: a stored run's page, written again.

use harness_core::exit::Exit;
use harness_report::html;

use super::sources;
use crate::{args::ReportArgs, failure::Failure, terminal};

/// Writes the page (and beside it, in the run's own folder, summary and JUnit file) from the stored verdict.
pub fn report(args: ReportArgs) -> Result<Exit, Failure> {
    let run = sources::load(&sources::store(&args.results), &args.run)?;
    let verdict = sources::stored_verdict(&run)?;
    sources::with_model(&run, &verdict, |model| {
        let written = match &args.output {
            None => {
                sources::write_reports(&run, model);
                run.folder.path("report.html")
            }
            Some(path) => {
                let page = html::render(model)
                    .map_err(|error| Failure::because("the report cannot be made", &error))?;
                std::fs::write(path, page)
                    .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
                path.clone()
            }
        };
        terminal::print(&sources::shown(&written).display().to_string());
        Ok(Exit::Valid)
    })
}
