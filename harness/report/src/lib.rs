//! The report of a run: a loaded run in, one HTML page, a summary for a pull request, JUnit and the
//! terminal's last lines out.
//!
//! Everything that is shown is computed once, into a [`Model`]; page, [`summary`], [`junit`], [`terminal`] and
//! [`json`] only write down what stands there, so they cannot disagree. The crate is pure: no file, no clock, no
//! network; the same run gives the same bytes.
//!
//! What fails here never changes a verdict: a plot that cannot be drawn leaves a sentence in its place.
//!
//! ```no_run
//! # fn show(input: &harness_report::ReportInput<'_>) -> Result<(), harness_report::RenderError> {
//! let model = harness_report::Model::new(input);
//! let page = harness_report::html::render(&model)?;
//! let lines = harness_report::terminal::render(&model, harness_report::terminal::Style { colour: false, width: 100 });
//! # Ok(()) }
//! ```

pub mod glossary;
pub mod html;
pub mod json;
pub mod junit;
pub mod model;
pub mod number;
pub mod plot;
pub mod summary;
pub mod sweep;
pub mod terminal;
pub mod text;
pub mod wall;

pub use model::{Model, ReportInput, RunFile, headline::HISTORY_FILE};

use thiserror::Error;

/// Why a report could not be written. The verdict stands without it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The page's template.
    #[error("fill in the page's template")]
    Template(#[from] askama::Error),
    /// The page's data.
    #[error("encode the page's data")]
    Data(#[from] serde_json::Error),
    /// The JUnit file.
    #[error("encode junit.xml")]
    Junit(#[from] quick_junit::SerializeError),
}
