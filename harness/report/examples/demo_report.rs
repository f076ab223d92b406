//! Writes the report of a synthetic run, to look at: `cargo run -p harness-report --example demo_report -- FILE [RUN]`,
//! where RUN is `rich` (default), `valid`, `invalid`, `unknown` or `large`, or of membership `killed-joiner`, `joins-and-removes`,
//! `unread` or `long`. Sizes and times go to stderr, the
//! terminal's lines to stdout.

use std::{error::Error, fs, time::Instant};

use harness_report::{Model, html, json, junit, summary, terminal};

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: demo_report FILE [rich|valid|invalid|unknown|large|killed-joiner|joins-and-removes|unread|long]")?;
    let mut run = match arguments.next().as_deref() {
        None | Some("rich") => synthetic::rich(),
        Some("valid") => synthetic::valid(),
        Some("invalid") => synthetic::invalid(),
        Some("unknown") => synthetic::unknown(),
        Some("large") => synthetic::large(),
        Some("killed-joiner") => synthetic::membership::killed_joiner(),
        Some("joins-and-removes") => synthetic::membership::joins_and_removes(),
        Some("unread") => synthetic::membership::unread(),
        Some("long") => synthetic::membership::long(),
        Some(other) => return Err(format!("no run is called {other}").into()),
    };
    // Whatever it shows, nothing ran.
    run.meta.simulated = true;
    let started = Instant::now();
    let model = run.with(Model::new);
    let computed = started.elapsed();
    let page = html::render(&model)?;
    let written = started.elapsed() - computed;
    eprintln!(
        "{} operations, {} points; model {computed:.2?}, page {written:.2?}, {} bytes",
        run.history.operations.len(),
        model.series.points.len(),
        page.len()
    );
    fs::write(&path, page)?;
    fs::write(format!("{path}.summary.md"), summary::render(&model))?;
    fs::write(format!("{path}.junit.xml"), junit::render(&model)?)?;
    fs::write(
        format!("{path}.json"),
        serde_json::to_string_pretty(&json::RunSummary::new(&model))?,
    )?;
    print!(
        "{}",
        terminal::render(
            &model,
            terminal::Style {
                colour: false,
                width: 120
            }
        )
    );
    Ok(())
}
