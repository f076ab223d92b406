//! Gets the agent onto a node and starts it.
//!
//! The binary goes to the first of these folders that is ours, can be written, and lets programs run
//! (`/run` and `/tmp` are often mounted `noexec`, so that is tried, not assumed):
//!
//! ```text
//! root    /run/harness-agent  /var/lib/harness-agent  /var/tmp/harness-0  /tmp/harness-0
//! others  /var/tmp/harness-UID  ~/.cache/harness-agent  /tmp/harness-UID  /dev/shm/harness-UID
//! ```
//!
//! Laws:
//! - it is named by its SHA-256 and renamed into place when all of it has arrived, so a file of the right name
//!   and size is the right one, and is sent once for each node and version;
//! - nothing is run from a folder that another user owns or that is a symbolic link;
//! - only `/bin/sh` and coreutils are needed; the login shell may be any.

use std::{
    io::{self, Read, Write},
    time::Instant,
};

use harness_core::frame::{
    CONNECTION_STREAM, Decoder, Frame, FrameError, Kind, MagicFinder, PROTOCOL_VERSION,
    message::{Greeting, Hello},
};
use ssh2::{Channel, ExtendedData, Session};

use super::{
    image::{agent_image, agent_image_sha256},
    session::{Login, Opened, left_ms},
    target::SshTarget,
};
use crate::transport::TransportError;

/// Bytes that a login may print before the agent speaks, at most.
const NOISE_LIMIT_BYTES: usize = 64 * 1024;
/// Characters of the hash in the file's name.
const HASH_CHARACTERS: usize = 32;
/// Bytes of messages that are kept, at most.
const COMPLAINT_LIMIT_BYTES: u64 = 4096;
/// What the launch script says when there is no agent.
const MISSING: &str = "harness-agent-is-missing";
/// What the store script says when the agent is in place.
const STORED: &str = "harness-agent-is-stored";

const FOLDERS: &str = r#"
u=$(id -u)
if [ "$u" = 0 ]; then
  set -- /run/harness-agent /var/lib/harness-agent /var/tmp/harness-0 /tmp/harness-0
else
  set -- "/var/tmp/harness-$u" "$HOME/.cache/harness-agent" "/tmp/harness-$u" "/dev/shm/harness-$u"
fi
ours() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ]; }
"#;

/// Everything that the actor takes over.
pub(super) struct Started {
    pub(super) opened: Opened,
    pub(super) channel: Channel,
    pub(super) decoder: Decoder,
    pub(super) hello: Hello,
}

/// Starts the agent on an open session, sending it first if the node lacks it.
pub(super) fn start(
    target: &SshTarget,
    opened: Opened,
    deadline: Instant,
) -> Result<Started, TransportError> {
    let login = Login::of_node(target);
    for stored in [false, true] {
        let mut channel = run(
            &login,
            &opened.session,
            &launch_script(target.sudo),
            deadline,
        )?;
        match read_hello(&login, &mut channel)? {
            Answer::Hello(decoder, hello) => {
                greet(&login, &mut channel)?;
                return Ok(Started {
                    opened,
                    channel,
                    decoder,
                    hello: *hello,
                });
            }
            Answer::Missing if stored => break,
            Answer::Missing => store(&login, &opened.session, deadline)?,
        }
    }
    Err(login.unreachable(io::Error::other(
        "the agent was stored and then not found; does something clean up on the node?",
    )))
}

fn file_name() -> String {
    format!("agent-{}", &agent_image_sha256()[..HASH_CHARACTERS])
}

fn launch_script(sudo: bool) -> String {
    let size_bytes = agent_image().len();
    let prefix = if sudo { "sudo -n -- " } else { "" };
    format!(
        r#"{FOLDERS}
for d in "$@"; do
  f=$d/{name}
  if ours "$d" && [ -f "$f" ] && [ -O "$f" ] && [ "$(wc -c <"$f")" -eq {size_bytes} ] && "$f" --version >/dev/null 2>&1; then
    exec {prefix}"$f" serve
  fi
done
echo {MISSING}"#,
        name = file_name()
    )
}

fn store_script() -> String {
    let size_bytes = agent_image().len();
    format!(
        r##"{FOLDERS}
umask 077
for d in "$@"; do
  mkdir -p "$d" 2>/dev/null
  ours "$d" || continue
  t=$d/.new-$$
  printf "#!/bin/sh\nexit 0\n" >"$t" 2>/dev/null && chmod 700 "$t" && "$t" 2>/dev/null || {{ rm -f "$t"; continue; }}
  rm -f "$t"
  find "$d" -name "agent-*" -mtime +1 -delete 2>/dev/null
  cat >"$t" && chmod 700 "$t" && [ "$(wc -c <"$t")" -eq {size_bytes} ] && mv -f "$t" "$d/{name}" && echo {STORED} && exit 0
  rm -f "$t"
  exit 1
done
echo "no folder of $* can be written and run from" >&2
exit 1"##,
        name = file_name()
    )
}

/// Starts a script on a channel of its own. Scripts hold no single quotes.
fn run(
    login: &Login<'_>,
    session: &Session,
    script: &str,
    deadline: Instant,
) -> Result<Channel, TransportError> {
    session.set_timeout(left_ms(deadline));
    let mut channel = session
        .channel_session()
        .map_err(|error| login.failed("no channel", &error))?;
    channel
        .handle_extended_data(ExtendedData::Normal)
        .map_err(|error| login.failed("no channel", &error))?;
    channel
        .exec(&format!("exec /bin/sh -c '{script}'"))
        .map_err(|error| login.failed("no command can be run", &error))?;
    Ok(channel)
}

enum Answer {
    Hello(Decoder, Box<Hello>),
    Missing,
}

/// Skips what the login prints, then reads one frame.
struct HelloReader {
    finder: MagicFinder,
    decoder: Option<Decoder>,
}

impl HelloReader {
    fn push(&mut self, bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        match &mut self.decoder {
            Some(decoder) => decoder.push(bytes),
            None => {
                let Some(rest) = self.finder.push(bytes)? else {
                    return Ok(None);
                };
                self.decoder.insert(Decoder::new()).push(&rest);
            }
        }
        self.decoder.as_mut().map_or(Ok(None), Decoder::next_frame)
    }
}

fn read_hello(login: &Login<'_>, channel: &mut Channel) -> Result<Answer, TransportError> {
    let mut reader = HelloReader {
        finder: MagicFinder::new(NOISE_LIMIT_BYTES),
        decoder: None,
    };
    let mut buffer = vec![0; NOISE_LIMIT_BYTES];
    loop {
        let count = channel
            .read(&mut buffer)
            .map_err(|error| login.unreachable(error))?;
        if count == 0 {
            let noise = reader.finder.noise();
            if noise.lines().any(|line| line.trim() == MISSING) {
                return Ok(Answer::Missing);
            }
            return Err(login.unreachable(io::Error::other(format!(
                "the agent did not start: {}",
                complaint(channel, &noise)
            ))));
        }
        let frame = reader
            .push(&buffer[..count])
            .map_err(|error| protocol(login, error))?;
        if let Some(frame) = frame {
            let hello = parse_hello(login, &frame)?;
            let decoder = reader.decoder.unwrap_or_default();
            return Ok(Answer::Hello(decoder, Box::new(hello)));
        }
    }
}

fn parse_hello(login: &Login<'_>, frame: &Frame) -> Result<Hello, TransportError> {
    if frame.kind != Kind::Hello {
        return Err(protocol(login, "it does not say hello"));
    }
    let hello: Hello =
        serde_json::from_slice(&frame.payload).map_err(|error| protocol(login, error))?;
    if hello.protocol != PROTOCOL_VERSION {
        return Err(protocol(
            login,
            format!(
                "it speaks protocol {}, not {PROTOCOL_VERSION}",
                hello.protocol
            ),
        ));
    }
    Ok(hello)
}

fn greet(login: &Login<'_>, channel: &mut Channel) -> Result<(), TransportError> {
    let payload = serde_json::to_vec(&Greeting {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
    .map_err(|error| protocol(login, error))?;
    let frame = Frame {
        stream: CONNECTION_STREAM,
        kind: Kind::Hello,
        payload,
    };
    let bytes = frame.encode().map_err(|error| protocol(login, error))?;
    channel
        .write_all(&bytes)
        .map_err(|error| login.unreachable(error))
}

/// Sends the agent to the node.
fn store(login: &Login<'_>, session: &Session, deadline: Instant) -> Result<(), TransportError> {
    let mut channel = run(login, session, &store_script(), deadline)?;
    // A script that gave up does not read; what it says then is the reason, not the broken pipe.
    let written = channel
        .write_all(agent_image())
        .and_then(|()| channel.send_eof().map_err(io::Error::from));
    let mut said = String::new();
    let read = Read::by_ref(&mut channel)
        .take(NOISE_LIMIT_BYTES as u64)
        .read_to_string(&mut said);
    if read.is_ok() && said.lines().any(|line| line.trim() == STORED) {
        return Ok(());
    }
    let mut reason = complaint(&mut channel, &said);
    if let Err(error) = written {
        reason = format!("{reason} ({error})");
    }
    Err(login.unreachable(io::Error::other(format!(
        "the agent cannot be stored: {reason}"
    ))))
}

/// What was said on standard error, else on standard output.
fn complaint(channel: &mut Channel, noise: &str) -> String {
    let mut bytes = Vec::new();
    // Whatever can be read of it is all that there is.
    let _ = channel
        .stderr()
        .take(COMPLAINT_LIMIT_BYTES)
        .read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    match (text.trim(), noise.trim()) {
        ("", "") => "it said nothing".to_owned(),
        ("", noise) => noise.chars().take(COMPLAINT_LIMIT_BYTES as usize).collect(),
        (text, _) => text.to_owned(),
    }
}

fn protocol(login: &Login<'_>, detail: impl ToString) -> TransportError {
    TransportError::Protocol {
        node: login.node.to_owned(),
        detail: detail.to_string(),
    }
}
