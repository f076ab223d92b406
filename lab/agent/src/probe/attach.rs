//! Attaching a program to places of a file, in the way that the kernel knows.
//!
//! One place is a perf event on the uprobe PMU, which may be handed on ([`super::kept`]); several are one link (Linux 6.6), else a perf event each.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use harness_core::frame::{
    message::Failure,
    probe::{MAX_UNPROBED_SITES, ProbeMethod, ProbeRequest},
};
use rustix::io::Errno;

use super::{
    ENOTSUPP, failure, kernel,
    program::{self, Plan},
    refuse,
};

/// Probes that are attached one by one, at most, where the kernel cannot do many at once: each costs a descriptor or two.
const MAX_SINGLE_PROBES: usize = 400;
/// Where the kernel says which kind of perf event a uprobe is.
const UPROBE_PMU: &str = "/sys/bus/event_source/devices/uprobe/type";

/// What is attached, and how.
pub struct Attached {
    pub method: ProbeMethod,
    pub held: Vec<OwnedFd>,
    /// Sites that the kernel cannot probe.
    pub unprobed: Vec<u32>,
}

/// Attaches a program to the places of a file: as a single perf event, all at once, or one by one where the kernel knows no better.
pub fn attach(plan: &Plan, file: &File, request: &ProbeRequest) -> Result<Attached, Failure> {
    // The file that was looked at, whatever its path leads to by now.
    let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
    let offsets: Vec<u64> = request.sites.iter().map(|site| site.offset).collect();
    let code = program::assemble(plan);
    if let [offset] = offsets.as_slice() {
        let program =
            kernel::load(&code, false).map_err(|error| failure("load the program", &error))?;
        let pmu = uprobe_pmu()?;
        let at = |error| failure(&format!("probe byte {offset} of {}", request.path), &error);
        let probe = kernel::open_probe(pmu, &path, *offset).map_err(at)?;
        kernel::start_probe(&probe, &program).map_err(at)?;
        return Ok(Attached {
            method: ProbeMethod::UprobePmu,
            held: vec![probe, program],
            unprobed: Vec::new(),
        });
    }
    let mut attached = match kernel::load(&code, true) {
        Ok(program) => {
            let mut attached = Attached {
                method: ProbeMethod::UprobeMulti,
                held: Vec::new(),
                unprobed: Vec::new(),
            };
            attached.many(&program, &path, &offsets, 0)?;
            attached.held.push(program);
            attached
        }
        // A kernel that does not know this kind of program.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            attach_singly(&code, &path, &offsets, &request.path)?
        }
        Err(error) => return Err(failure("load the program", &error)),
    };
    attached.unprobed.sort_unstable();
    if request.fire.is_some() && !attached.unprobed.is_empty() {
        let error = io::Error::from_raw_os_error(ENOTSUPP);
        return Err(failure("probe all of them", &error));
    }
    Ok(attached)
}

impl Attached {
    /// Attaches to all; what the kernel cannot probe is found by halving.
    fn many(
        &mut self,
        program: &OwnedFd,
        path: &CString,
        offsets: &[u64],
        first: u32,
    ) -> Result<(), Failure> {
        match kernel::attach_multi(program, path, offsets, first.into()) {
            Ok(link) => self.held.push(link),
            Err(error) if error.raw_os_error() == Some(ENOTSUPP) => {
                if offsets.len() == 1 {
                    return self.leave_out(first);
                }
                let (left, right) = offsets.split_at(offsets.len() / 2);
                self.many(program, path, left, first)?;
                let next = first + u32::try_from(left.len()).unwrap_or(u32::MAX);
                self.many(program, path, right, next)?;
            }
            Err(error) => {
                return Err(failure(&format!("probe {} places", offsets.len()), &error));
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, site: u32) -> Result<(), Failure> {
        self.unprobed.push(site);
        if self.unprobed.len() > MAX_UNPROBED_SITES {
            let message = format!(
                "the kernel cannot probe more than {MAX_UNPROBED_SITES} of these functions (mend: fewer, or others)"
            );
            return Err(refuse(Errno::NOTSUP, message));
        }
        Ok(())
    }
}

fn attach_singly(
    code: &[[u8; 8]],
    path: &CString,
    offsets: &[u64],
    shown: &str,
) -> Result<Attached, Failure> {
    if offsets.len() > MAX_SINGLE_PROBES {
        let message = format!(
            "this node's kernel attaches probes one by one, and {} are more than {MAX_SINGLE_PROBES} (mend: Linux 6.6 or newer, or fewer functions)",
            offsets.len()
        );
        return Err(refuse(Errno::TOOBIG, message));
    }
    let program = kernel::load(code, false).map_err(|error| failure("load the program", &error))?;
    let pmu = uprobe_pmu()?;
    let mut attached = Attached {
        method: ProbeMethod::UprobePmu,
        held: Vec::with_capacity(2 * offsets.len() + 1),
        unprobed: Vec::new(),
    };
    for (cookie, offset) in (0..).zip(offsets) {
        let at = |error| failure(&format!("probe byte {offset} of {shown}"), &error);
        match kernel::open_probe(pmu, path, *offset) {
            Ok(probe) => {
                let link = kernel::start_probe_with(&probe, &program, u64::from(cookie));
                attached.held.push(link.map_err(at)?);
                attached.held.push(probe);
            }
            Err(error) if error.raw_os_error() == Some(ENOTSUPP) => attached.leave_out(cookie)?,
            Err(error) => return Err(at(error)),
        }
    }
    attached.held.push(program);
    Ok(attached)
}

fn uprobe_pmu() -> Result<u32, Failure> {
    let text = fs::read_to_string(UPROBE_PMU).map_err(|error| {
        let what =
            format!("read {UPROBE_PMU} (mend: mount /sys on the node; a kernel with uprobes)");
        failure(&what, &error)
    })?;
    let number = text.trim().parse();
    number.map_err(|_| refuse(Errno::INVAL, format!("{UPROBE_PMU} holds no number")))
}
