//! `selftest-echo ADDRESS`: sends back what it is sent, for the conformance suite of the lab.
//!
//! A minimal node has no tool that listens, so the agent brings its own. The address is
//! `tcp:IP:PORT`, `unix:PATH` or `abstract:NAME`; the first line printed says where it listens.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    process::ExitCode,
    thread,
};

/// Bytes that are echoed in one go.
const ECHO_BYTES: usize = 64 * 1024;

/// Runs until it is killed.
pub fn main(arguments: &[String]) -> ExitCode {
    let [address] = arguments else {
        eprintln!("usage: harness-agent selftest-echo tcp:IP:PORT | unix:PATH | abstract:NAME");
        return ExitCode::FAILURE;
    };
    match listen(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("harness-agent: cannot echo on {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(address: &str) -> io::Result<()> {
    match address.split_once(':') {
        Some(("tcp", address)) => {
            let listener = TcpListener::bind(address)?;
            announce(&format!("tcp:{}", listener.local_addr()?))?;
            loop {
                let socket = listener.accept()?.0;
                socket.set_nodelay(true)?;
                let closing = socket.try_clone()?;
                thread::spawn(move || {
                    echo(&socket, &socket);
                    closing.shutdown(Shutdown::Write)
                });
            }
        }
        Some(("unix", path)) => accept(&UnixListener::bind(path)?, address),
        Some(("abstract", name)) => {
            let name = SocketAddr::from_abstract_name(name)?;
            accept(&UnixListener::bind_addr(&name)?, address)
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn accept(listener: &UnixListener, address: &str) -> io::Result<()> {
    announce(address)?;
    loop {
        let socket = listener.accept()?.0;
        let closing = socket.try_clone()?;
        thread::spawn(move || {
            echo(&socket, &socket);
            closing.shutdown(Shutdown::Write)
        });
    }
}

fn announce(address: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{address}")?;
    out.flush()
}

fn echo(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; ECHO_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
