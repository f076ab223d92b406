//! The way to a server: a unix socket, or TLS with our certificate and theirs pinned.
//!
//! Law: nothing is said to a server over the network before its certificate was seen to be the one that is
//! expected. LXD and Incus sign their certificates themselves, so the fingerprint is what is known of it.
//!
//! TLS is OpenSSL's, which is linked already through ssh2, and reads every form of key that LXD and Incus write.

use std::{fmt, path::PathBuf, pin::Pin};

use openssl::{
    hash::MessageDigest,
    ssl::{Ssl, SslConnector, SslFiletype, SslMethod, SslVerifyMode, SslVersion},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_openssl::SslStream;

use super::ServerError;

/// Port of a server that names none.
pub const DEFAULT_SERVER_PORT: u16 = 8443;
/// Where a server's socket is, by how it was installed: Debian's LXD, the snap, Incus.
pub const SOCKETS: [&str; 3] = [
    "/var/lib/lxd/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/incus/unix.socket",
];

/// Which server makes the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remote {
    /// One on this machine, by its socket.
    Unix(PathBuf),
    /// One that is reached over the network.
    Https(Https),
}

/// A server that is reached over the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Https {
    /// Host name or IP address, an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Our certificate, which the server trusts; PEM.
    pub certificate: PathBuf,
    /// Its private key; PEM.
    pub key: PathBuf,
    /// SHA-256 of the server's certificate, as 64 lower-case hexadecimal digits.
    pub fingerprint: String,
}

impl Remote {
    /// The socket of the server that is installed here, else the first place where one could be.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let there = SOCKETS.iter().find(|path| PathBuf::from(path).exists());
        Self::Unix(there.unwrap_or(&SOCKETS[0]).into())
    }

    /// Whether the server is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Https(https) if https.host.contains(':') => {
                write!(f, "https://[{}]:{}", https.host, https.port)
            }
            Self::Https(https) => write!(f, "https://{}:{}", https.host, https.port),
        }
    }
}

/// A connection, whatever carries it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects. The caller bounds the time.
pub(super) async fn connect(remote: &Remote) -> Result<Box<dyn Stream>, ServerError> {
    let failed = |source| ServerError::Connect {
        server: remote.to_string(),
        source,
    };
    match remote {
        Remote::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            Ok(Box::new(stream))
        }
        Remote::Https(https) => {
            let stream = TcpStream::connect((https.host.as_str(), https.port))
                .await
                .map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let mut stream = SslStream::new(session(remote, https)?, stream)
                .map_err(|error| tls(remote, &error))?;
            Pin::new(&mut stream)
                .connect()
                .await
                .map_err(|error| tls(remote, &error))?;
            check_certificate(remote, https, stream.ssl())?;
            Ok(Box::new(stream))
        }
    }
}

fn tls(remote: &Remote, error: &dyn fmt::Display) -> ServerError {
    ServerError::Tls {
        server: remote.to_string(),
        detail: error.to_string(),
    }
}

/// A TLS session that is not connected yet, with our certificate.
fn session(remote: &Remote, https: &Https) -> Result<Ssl, ServerError> {
    let unusable =
        |path: &PathBuf, error: openssl::error::ErrorStack| ServerError::ClientCertificate {
            path: path.clone(),
            detail: error.to_string(),
        };
    let mut builder =
        SslConnector::builder(SslMethod::tls_client()).map_err(|error| tls(remote, &error))?;
    builder
        .set_min_proto_version(Some(SslVersion::TLS1_2))
        .map_err(|error| tls(remote, &error))?;
    builder
        .set_certificate_chain_file(&https.certificate)
        .map_err(|error| unusable(&https.certificate, error))?;
    builder
        .set_private_key_file(&https.key, SslFiletype::PEM)
        .and_then(|()| builder.check_private_key())
        .map_err(|error| unusable(&https.key, error))?;
    // No authority vouches for it: its fingerprint is compared once the handshake has proven that it has the key.
    builder.set_verify(SslVerifyMode::NONE);
    let mut configuration = builder
        .build()
        .configure()
        .map_err(|error| tls(remote, &error))?;
    configuration.set_verify_hostname(false);
    configuration
        .into_ssl(&https.host)
        .map_err(|error| tls(remote, &error))
}

fn check_certificate(
    remote: &Remote,
    https: &Https,
    session: &openssl::ssl::SslRef,
) -> Result<(), ServerError> {
    let certificate = session
        .peer_certificate()
        .ok_or_else(|| tls(remote, &"it showed no certificate"))?;
    let digest = certificate
        .digest(MessageDigest::sha256())
        .map_err(|error| tls(remote, &error))?;
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if found == https.fingerprint {
        return Ok(());
    }
    Err(ServerError::Fingerprint {
        server: remote.to_string(),
        found,
        expected: https.fingerprint.clone(),
    })
}
