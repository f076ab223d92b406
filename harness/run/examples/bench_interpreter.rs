//! `cargo run --release -p harness-run --example bench_interpreter -- [ops] [concurrency] [seconds] [folder]`

use std::path::PathBuf;

use harness_run::bench::{BenchSpec, interpreter};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let spec = BenchSpec {
        ops: args.next().map_or(Ok(1_000_000), |text| text.parse())?,
        concurrency: args.next().map_or(Ok(1024), |text| text.parse())?,
        seconds: args.next().map_or(Ok(60.0), |text| text.parse())?,
    };
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let path = folder.join(format!("bench-{}.jsonl", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let figures = runtime.block_on(interpreter(spec, &path));
    std::fs::remove_file(&path)?;
    println!("{}", serde_json::to_string_pretty(&figures?)?);
    Ok(())
}
