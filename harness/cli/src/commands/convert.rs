//! `harness generate` and `harness convert`: histories without a run.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use harness_checkers::generate::{self, Parameters, Plant, Workload};
use harness_core::{
    event::Event,
    exit::Exit,
    format::{self, Format},
    history,
};
use tempfile::NamedTempFile;

use crate::{
    args::{ConvertArgs, GenerateArgs},
    failure::{Failure, chain},
};

/// Bytes that are encoded before they are written.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where results go: a file that is new or takes the place of another when it is whole, a device or pipe, or standard output.
enum Sink {
    Whole(BufWriter<NamedTempFile>, PathBuf),
    Device(BufWriter<File>),
    Stdout(io::Stdout),
}

impl Sink {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::Stdout(io::stdout()));
        };
        let failed = |error: io::Error| Failure::usage(format!("{}: {error}", path.display()));
        if path.exists() && !path.is_file() {
            return File::create(path)
                .map(|file| Self::Device(BufWriter::new(file)))
                .map_err(failed);
        }
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        tempfile::Builder::new()
            .prefix(".harness-")
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .map(|file| Self::Whole(BufWriter::new(file), path.clone()))
            .map_err(failed)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Whole(file, _) => file.write_all(bytes),
            Self::Device(file) => file.write_all(bytes),
            Self::Stdout(out) => out.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Whole(file, path) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.persist(path).map(drop).map_err(|error| error.error)
            }
            Self::Device(mut file) => file.flush(),
            Self::Stdout(mut out) => out.flush(),
        }
    }
}

/// A reader that went away is no failure.
fn written(result: io::Result<()>) -> Result<Exit, Failure> {
    match result {
        Ok(()) => Ok(Exit::Valid),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Valid),
        Err(error) => Err(Failure::because("the history cannot be written", &error)),
    }
}

fn encode(event: &Event, format: Format, into: &mut Vec<u8>) {
    match format {
        Format::Plume => format::sessions::encode_plume(event, event.index, into),
        _ => format::encode_event(event, format, into),
    }
}

/// A generated history is written as it comes, in formats that can say everything.
fn streamable(format: Format) -> Result<(), Failure> {
    match format {
        Format::Ours | Format::Edn | Format::JepsenJson => Ok(()),
        other => Err(Failure::usage(format!(
            "{}: it cannot say every history, or only a whole one; generate jsonl, then harness convert --to {0}",
            other.name()
        ))),
    }
}

/// The parameters of a generated history.
pub fn parameters(args: &GenerateArgs) -> Result<Parameters, Failure> {
    let names = |all: &[&str]| all.join(", ");
    let workload = Workload::from_name(&args.workload).ok_or_else(|| {
        Failure::usage(format!(
            "workload: there is no {:?}; there are {}",
            args.workload,
            names(&Workload::ALL.map(|(_, name)| name))
        ))
    })?;
    let plant = args
        .plant
        .as_deref()
        .map(|name| {
            Plant::from_name(name).ok_or_else(|| {
                Failure::usage(format!(
                    "plant: there is no {name:?}; there are {}",
                    names(&Plant::ALL.map(|(_, name)| name))
                ))
            })
        })
        .transpose()?;
    Ok(Parameters {
        processes: args.processes,
        keys: args.keys,
        seed: args
            .seed
            .parse()
            .map_err(|error| Failure::usage(format!("seed: {error}")))?,
        reads: args.reads,
        values: args.values,
        info: args.info,
        fail: args.fail,
        appends_per_key: args.appends_per_key,
        transaction_min: args.transaction_min,
        transaction_max: args.transaction_max,
        nodes: args.nodes,
        plant,
        ..Parameters::new(workload, args.operations)
    })
}

/// Writes a synthetic history, in pieces: its length costs no memory.
pub fn generate(args: GenerateArgs) -> Result<Exit, Failure> {
    let parameters = parameters(&args)?;
    if args.format == Format::Plume && parameters.workload == Workload::RwRegister {
        if parameters.info > 0.0 {
            return Err(Failure::usage(
                "plume: it cannot say that an outcome is not known; add --info 0",
            ));
        }
    } else {
        streamable(args.format)?;
    }
    write(
        &parameters,
        args.format,
        Sink::open(args.output.as_deref())?,
    )
}

/// Writes a synthetic history to a file.
pub fn write_generated(
    parameters: &Parameters,
    format: Format,
    path: &Path,
) -> Result<(), Failure> {
    write(parameters, format, Sink::open(Some(path))?).map(drop)
}

fn write(parameters: &Parameters, format: Format, mut sink: Sink) -> Result<Exit, Failure> {
    let mut buffer = Vec::with_capacity(CHUNK_BYTES * 2);
    if format == Format::Ours {
        buffer.extend_from_slice(history::encode_header().as_bytes());
    }
    let mut result = Ok(());
    let planted = generate::generate(parameters, |event| {
        encode(&event, format, &mut buffer);
        if buffer.len() >= CHUNK_BYTES && result.is_ok() {
            result = sink.write(&buffer);
            buffer.clear();
        }
    })
    .map_err(|error| Failure::usage(chain(&error)))?;
    if parameters.plant.is_some() && !planted {
        return Err(Failure::usage(
            "the anomaly could not be planted in so short a history; ask for more operations",
        ));
    }
    written(
        result
            .and_then(|()| sink.write(&buffer))
            .and_then(|()| sink.finish()),
    )
}

/// Reads a history in one format and writes it in another.
pub fn convert(args: ConvertArgs) -> Result<Exit, Failure> {
    let name = args.input.display();
    let bytes = if args.input.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::usage(format!("standard input: {error}")))?;
        bytes
    } else {
        std::fs::read(&args.input).map_err(|error| Failure::usage(format!("{name}: {error}")))?
    };
    let from = args.from.unwrap_or_else(|| Format::detect(&bytes));
    let to = args.to.unwrap_or_else(|| {
        let extension = args.output.as_deref().and_then(Path::extension);
        match extension.and_then(|extension| extension.to_str()) {
            Some("edn") => Format::Edn,
            Some("json") => Format::JepsenJson,
            _ => Format::Ours,
        }
    });
    let (mut events, remarks) = format::read_events(&bytes, from)
        .map_err(|error| Failure::usage(format!("{name}: {}", chain(&error))))?;
    for remark in remarks {
        crate::terminal::say(&format!("{name}: {remark}"));
    }
    if to == Format::Ours {
        // What we write has no gaps.
        for (index, event) in (0..).zip(&mut events) {
            event.index = index;
        }
    }
    let mut buffer = Vec::new();
    format::write(&events, to, &mut buffer)
        .map_err(|error| Failure::usage(format!("{name}: {} cannot say it: {error}", to.name())))?;
    if buffer.is_empty() {
        return Err(Failure::usage(format!(
            "{name}: nothing in it can be said in {}",
            to.name()
        )));
    }
    // Only now: what was in the file is not lost to a history that the format cannot say.
    let mut sink = Sink::open(args.output.as_deref())?;
    written(sink.write(&buffer).and_then(|()| sink.finish()))
}
