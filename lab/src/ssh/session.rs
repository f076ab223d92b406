//! An authenticated SSH session: TCP, handshake, host key, login.
//!
//! Laws:
//! - the host key is judged before anything is said about who we are;
//! - every step ends by the deadline; afterwards the session still blocks, until its owner changes that.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use ssh2::{MethodType, Session};

use super::{
    hostkey, jump,
    target::{Auth, HostKeyPolicy, JumpHost, SshTarget},
};
use crate::transport::TransportError;

/// The shortest time that a step is given, so that no step is told 0, which means for ever.
const SHORTEST_STEP: Duration = Duration::from_millis(1);
/// Ciphers in the order that is wished: the first two are fast with the processor's help.
const CIPHERS: &str = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr";

/// Where to log in: a node or a jump host.
pub(super) struct Login<'a> {
    /// The node's name, for messages.
    pub(super) node: &'a str,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) user: &'a str,
    pub(super) auth: &'a Auth,
    pub(super) host_key: &'a HostKeyPolicy,
}

impl<'a> Login<'a> {
    /// The login on the node itself.
    pub(super) fn of_node(target: &'a SshTarget) -> Self {
        Self {
            node: &target.name,
            host: &target.host,
            port: target.port,
            user: &target.user,
            auth: &target.auth,
            host_key: &target.host_key,
        }
    }

    /// The login on the host before it.
    pub(super) fn of_jump(target: &'a SshTarget, jump: &'a JumpHost) -> Self {
        Self {
            node: &target.name,
            host: &jump.host,
            port: jump.port,
            user: &jump.user,
            auth: &jump.auth,
            host_key: &jump.host_key,
        }
    }

    fn address(&self) -> String {
        super::target::display_address(self.host, self.port)
    }

    /// An error of the way there.
    pub(super) fn unreachable(&self, source: io::Error) -> TransportError {
        TransportError::Unreachable {
            node: self.node.to_owned(),
            address: self.address(),
            source,
        }
    }

    /// An error of libssh2 on the way there, with what was being done.
    pub(super) fn failed(&self, what: &str, error: &ssh2::Error) -> TransportError {
        self.unreachable(io::Error::other(format!("{what}: {}", error.message())))
    }
}

/// A session and a second handle of its socket, to wait on.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) socket: OwnedFd,
}

/// Logs in on a node, over its jump host if it has one.
pub(super) fn open(target: &SshTarget, deadline: Instant) -> Result<Opened, TransportError> {
    let login = Login::of_node(target);
    match &target.jump {
        None => {
            let stream = connect(&login, deadline)?;
            let socket = stream
                .try_clone()
                .map_err(|error| login.unreachable(error))?
                .into();
            log_in(&login, stream, socket, deadline)
        }
        Some(host) => {
            let stream = jump::through(target, host, deadline)?;
            let socket = stream
                .try_clone()
                .map_err(|error| login.unreachable(error))?
                .into();
            log_in(&login, stream, socket, deadline)
        }
    }
}

/// Connects by TCP, trying each address that the name has.
pub(super) fn connect(login: &Login<'_>, deadline: Instant) -> Result<TcpStream, TransportError> {
    let addresses = (login.host, login.port)
        .to_socket_addrs()
        .map_err(|error| login.unreachable(error))?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, left(deadline)) {
            Ok(stream) => {
                stream
                    .set_nodelay(true)
                    .map_err(|error| login.unreachable(error))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(login.unreachable(last))
}

/// Handshake, host key, login.
pub(super) fn log_in(
    login: &Login<'_>,
    stream: impl AsRawFd + 'static,
    socket: OwnedFd,
    deadline: Instant,
) -> Result<Opened, TransportError> {
    let refused = |detail| TransportError::HostKey {
        node: login.node.to_owned(),
        detail,
    };
    let mut session = Session::new().map_err(|error| login.failed("no session", &error))?;
    session.set_timeout(left_ms(deadline));
    for direction in [MethodType::CryptCs, MethodType::CryptSc] {
        session
            .method_pref(direction, CIPHERS)
            .map_err(|error| login.failed("ciphers", &error))?;
    }
    hostkey::prefer_known(&session, login.host_key, login.host, login.port).map_err(refused)?;
    session.set_tcp_stream(stream);
    session
        .handshake()
        .map_err(|error| login.failed("handshake", &error))?;
    hostkey::check(&session, login.host_key, login.host, login.port).map_err(refused)?;
    session.set_timeout(left_ms(deadline));
    authenticate(login, &session)?;
    Ok(Opened { session, socket })
}

fn authenticate(login: &Login<'_>, session: &Session) -> Result<(), TransportError> {
    let refused = |detail: String| TransportError::Authentication {
        node: login.node.to_owned(),
        user: login.user.to_owned(),
        detail,
    };
    let result = match login.auth {
        Auth::KeyFile(file) => {
            if let Err(error) = std::fs::File::open(file) {
                return Err(refused(format!(
                    "the key file {} cannot be read: {error}",
                    file.display()
                )));
            }
            session
                .userauth_pubkey_file(login.user, None, file, None)
                .map_err(|error| (error, format!("with the key file {}", file.display())))
        }
        Auth::Agent => authenticate_by_agent(login, session)
            .map_err(|error| (error, "with the keys of the ssh-agent".to_owned())),
    };
    match result {
        Ok(()) if session.authenticated() => Ok(()),
        Ok(()) => Err(refused("it wants more than a key".into())),
        Err((error, tried)) if is_of_the_way(&error) => Err(login.failed(&tried, &error)),
        Err((error, tried)) => Err(refused(format!(
            "{tried}: {}; is the public key in its authorized_keys?",
            error.message()
        ))),
    }
}

/// Tries each key that the ssh-agent has.
fn authenticate_by_agent(login: &Login<'_>, session: &Session) -> Result<(), ssh2::Error> {
    let mut agent = session.agent()?;
    agent.connect()?;
    agent.list_identities()?;
    let mut last = None;
    for identity in agent.identities()? {
        match agent.userauth(login.user, &identity) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        ssh2::Error::new(
            ssh2::ErrorCode::Session(LIBSSH2_ERROR_AUTHENTICATION_FAILED),
            "it has no keys",
        )
    }))
}

/// From libssh2.h.
const LIBSSH2_ERROR_AUTHENTICATION_FAILED: i32 = -18;
/// Errors of libssh2.h that the connection has, not the login: socket send, timeout, disconnect, socket receive.
const ERRORS_OF_THE_WAY: [i32; 4] = [-7, -9, -13, -43];

fn is_of_the_way(error: &ssh2::Error) -> bool {
    matches!(error.code(), ssh2::ErrorCode::Session(code) if ERRORS_OF_THE_WAY.contains(&code))
}

/// The time left until a deadline; never nothing.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(SHORTEST_STEP)
}

/// The same in milliseconds, as libssh2 wants it.
pub(super) fn left_ms(deadline: Instant) -> u32 {
    u32::try_from(left(deadline).as_millis())
        .unwrap_or(u32::MAX)
        .max(1)
}
