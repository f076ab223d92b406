//! Crash points by name: finds a function in a node's own program, and arms a probe on it, or on many to trace.
//!
//! Laws: a name is looked up in the very file that the node runs, known by its digest, so that two nodes with one file share
//! the work and an upgraded node does not; the agent compares the bytes at each place once more before it arms.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use harness_lab::{
    Exec, Node, TransportError,
    probe::{Fire, Keep, MAX_SITES, Probe, ProbeOrder, ProbeSignal, Site},
};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::symbols::{Function, SymbolError, Symbols};

/// Bytes of a program, library or debug file, at most.
pub const MAX_PROGRAM_BYTES: u64 = 1024 * 1024 * 1024;

/// Why a crash point cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PointError {
    /// The node could not be asked, or said no.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// There is no such program on the node.
    #[error("{node} has no {program} (mend: name it by its path)")]
    NoProgram {
        /// The node's name.
        node: String,
        /// What was looked for.
        program: String,
    },
    /// The name or the file is not usable.
    #[error("{program} of {node}: {source}")]
    Symbol {
        /// The node's name.
        node: String,
        /// The program's path.
        program: String,
        /// What is wrong.
        #[source]
        source: SymbolError,
    },
    /// More functions than can be probed at once.
    #[error("{count} functions, and {MAX_SITES} can be probed at once (mend: a narrower --match)")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// No function to trace.
    #[error("no function to probe (mend: a wider --match)")]
    Nothing,
    /// The transport to this node cannot arm probes.
    #[error("{node} is reached by something that cannot arm probes (mend: SSH)")]
    NoProbes {
        /// The node's name.
        node: String,
    },
    /// A copy of the program could not be kept on our side.
    #[error("keep a copy of {program}")]
    Local {
        /// The program's path.
        program: String,
        /// Our kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// A program or library of a node, and what is in it.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its path on the node, symbolic links resolved.
    pub path: PathBuf,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its functions.
    pub symbols: Arc<Symbols>,
}

/// A crash point that is armed.
#[derive(Debug)]
pub struct Point {
    /// Where.
    pub function: Function,
    /// What watches it. Dropping it takes it away.
    pub probe: Probe,
}

/// Functions that are traced: site `i` of the probe is function `i`.
#[derive(Debug)]
pub struct Trace {
    /// What is watched, in the order of sites.
    pub functions: Vec<Function>,
    /// What watches them. Dropping it takes it away.
    pub probe: Probe,
}

/// Who watches functions of programs on nodes; [`Programs`] does.
#[async_trait]
pub trait Functions: Send + Sync {
    /// Arms one function of a program; see [`Programs::arm`].
    ///
    /// # Errors
    /// Those of [`Programs::arm`].
    async fn arm(
        &self,
        node: &Node,
        program: &Path,
        function: &str,
        fire: Fire,
        keep: Option<Keep>,
    ) -> Result<Point, PointError>;
}

#[async_trait]
impl Functions for Programs {
    async fn arm(
        &self,
        node: &Node,
        program: &Path,
        function: &str,
        fire: Fire,
        keep: Option<Keep>,
    ) -> Result<Point, PointError> {
        self.arm_kept(node, program, function, fire, keep).await
    }
}

/// Programs that were read, by digest.
#[derive(Debug, Default)]
pub struct Programs {
    known: Mutex<HashMap<String, Arc<Symbols>>>,
}

impl PointError {
    /// Whether it cannot be had as asked for: no trouble of ours, or of the way to the node.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Transport(error) => matches!(error, TransportError::Refused { .. }),
            Self::Local { .. } => false,
            _ => true,
        }
    }
}

impl Programs {
    /// Reads a program of a node: a path, or a name that is looked for in the node's `PATH`.
    ///
    /// # Errors
    /// [`PointError::NoProgram`], [`PointError::Symbol`] if it is none that can be read, [`PointError::Transport`].
    pub async fn read(&self, node: &Node, program: &Path) -> Result<Program, PointError> {
        let (path, sha256) = identify(node, program).await?;
        let mut known = self.known.lock().await;
        let symbols = match known.get(&sha256) {
            Some(symbols) => Arc::clone(symbols),
            None => {
                let symbols = Arc::new(fetch(node, &path).await?);
                known.insert(sha256.clone(), Arc::clone(&symbols));
                symbols
            }
        };
        Ok(Program {
            path,
            sha256,
            symbols,
        })
    }

    /// Arms one function: at the n-th entry on that node (from 1) the process is sent the signal, or only reported.
    ///
    /// # Errors
    /// Those of [`Programs::read`], and of the name and of arming.
    pub async fn arm(
        &self,
        node: &Node,
        program: &Path,
        function: &str,
        nth: u64,
        signal: Option<ProbeSignal>,
    ) -> Result<Point, PointError> {
        let fire = Fire { nth, signal };
        self.arm_kept(node, program, function, fire, None).await
    }

    /// The same, and it may outlive the connection for a while.
    async fn arm_kept(
        &self,
        node: &Node,
        program: &Path,
        function: &str,
        fire: Fire,
        keep: Option<Keep>,
    ) -> Result<Point, PointError> {
        let program = self.read(node, program).await?;
        let found = program.symbols.find(function);
        let function = found.map_err(|source| PointError::Symbol {
            node: node.name.to_string(),
            program: program.path.display().to_string(),
            source,
        })?;
        let order = ProbeOrder {
            path: program.path.clone(),
            sites: vec![site(function)],
            report_hits: 0,
            fire: Some(fire),
            keep,
        };
        Ok(Point {
            function: function.clone(),
            probe: arm(node, order).await?,
        })
    }

    /// Watches many functions of a program without disturbing it; each one's first `report_hits` entries are told.
    ///
    /// # Errors
    /// [`PointError::Nothing`], [`PointError::TooMany`], and those of arming.
    pub async fn trace(
        &self,
        node: &Node,
        program: &Program,
        functions: Vec<Function>,
        report_hits: u64,
    ) -> Result<Trace, PointError> {
        let count = functions.len();
        if count == 0 {
            return Err(PointError::Nothing);
        }
        if count > MAX_SITES {
            return Err(PointError::TooMany { count });
        }
        let order = ProbeOrder {
            path: program.path.clone(),
            sites: functions.iter().map(site).collect(),
            report_hits,
            fire: None,
            keep: None,
        };
        Ok(Trace {
            functions,
            probe: arm(node, order).await?,
        })
    }
}

fn site(function: &Function) -> Site {
    Site {
        offset: function.file_offset,
        entry: u64::from_le_bytes(function.entry),
    }
}

async fn arm(node: &Node, order: ProbeOrder) -> Result<Probe, PointError> {
    let probes = node
        .transport
        .probes()
        .ok_or_else(|| PointError::NoProbes {
            node: node.name.to_string(),
        })?;
    Ok(probes.arm(order).await?)
}

/// The program's real path and digest.
async fn identify(node: &Node, program: &Path) -> Result<(PathBuf, String), PointError> {
    // A library is not executable, so only a bare name goes through PATH. sha256sum reads from its input, so that it quotes no name.
    let script = "p=$1\ncase $p in /*) ;; *) p=$(command -v -- \"$p\") || exit 44 ;; esac\n\
                  p=$(realpath -e -- \"$p\") && [ -f \"$p\" ] || exit 44\n\
                  printf '%s\\n' \"$p\"\nsha256sum <\"$p\"";
    let name = program.to_string_lossy().into_owned();
    let mut exec = Exec::shell(script);
    exec.argv.extend(["harness".into(), name.clone()]);
    let output = node.transport.exec(exec).await?;
    let text = output.stdout_text();
    let mut lines = text.lines();
    let found = lines.next().zip(lines.next()).and_then(|(path, sum)| {
        let digest = sum.split_ascii_whitespace().next()?;
        (output.status.success() && path.starts_with('/'))
            .then(|| (PathBuf::from(path), digest.to_owned()))
    });
    found.ok_or_else(|| PointError::NoProgram {
        node: node.name.to_string(),
        program: name,
    })
}

async fn fetch(node: &Node, path: &Path) -> Result<Symbols, PointError> {
    let bytes = download(node, path).await?;
    let shown = path.display().to_string();
    let symbol = |source| PointError::Symbol {
        node: node.name.to_string(),
        program: shown.clone(),
        source,
    };
    let (bytes, symbols) = parse(bytes, None).await.map_err(symbol)?;
    let Some(debug_path) = symbols.debug_file_path() else {
        return Ok(symbols);
    };
    match download(node, Path::new(&debug_path)).await {
        Ok(debug) => Ok(parse(bytes, Some(debug)).await.map_err(symbol)?.1),
        Err(PointError::Transport(TransportError::Refused { source, .. }))
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Ok(symbols)
        }
        Err(error) => Err(error),
    }
}

/// Where it keeps nobody waiting; gives the bytes back.
async fn parse(bytes: Vec<u8>, debug: Option<Vec<u8>>) -> Result<(Vec<u8>, Symbols), SymbolError> {
    let work = tokio::task::spawn_blocking(move || {
        let symbols = Symbols::read(&bytes, debug.as_deref())?;
        Ok((bytes, symbols))
    });
    work.await.unwrap_or_else(|error| {
        Err(SymbolError::NotElf {
            detail: format!("reading it did not end well ({error})"),
        })
    })
}

async fn download(node: &Node, path: &Path) -> Result<Vec<u8>, PointError> {
    let local = |source| PointError::Local {
        program: path.display().to_string(),
        source,
    };
    let folder = tempfile::tempdir().map_err(local)?;
    let copy = folder.path().join("program");
    node.transport
        .download(path, &copy, MAX_PROGRAM_BYTES)
        .await?;
    tokio::fs::read(&copy).await.map_err(local)
}
