//! Connections from the node, and its clocks.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    CaseError, ensure, script,
    support::{Node, noise},
};
use crate::transport::{Address, NodeStream, TransportError};

/// From errno(3).
const ENOENT: i32 = 2;
const ECONNREFUSED: i32 = 111;
/// Time for a connection on the node itself.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without progress after which a stream is taken for stopped.
const STOPPED: Duration = Duration::from_millis(700);
/// Small messages in the case for them; a lost wake-up was once seen every few thousand.
const PING_PONGS: u32 = 10_000;
/// Time that no small message may take on a link that is otherwise idle.
const STALL: Duration = Duration::from_secs(1);
/// Streams that are used at the same time in the case for that.
const MANY: u64 = 10;

/// Sends bytes, closes that direction, and expects the same bytes and then the end.
async fn echoes(node: &Node, address: &Address, seed: u64) -> Result<(), CaseError> {
    let bytes = noise(seed, 2_500_000);
    let stream = node.transport.connect(address, CONNECT_TIMEOUT).await?;
    let (mut from, mut to) = tokio::io::split(stream);
    let send = async {
        to.write_all(&bytes).await?;
        to.shutdown().await
    };
    let mut back = Vec::new();
    let (sent, received) = tokio::join!(send, from.read_to_end(&mut back));
    sent?;
    received?;
    ensure!(
        back == bytes,
        "{} bytes came back as {}",
        bytes.len(),
        back.len()
    );
    Ok(())
}

/// One small message there and back.
async fn ping(stream: &mut Box<dyn NodeStream>, message: &[u8]) -> Result<(), CaseError> {
    stream.write_all(message).await?;
    let mut back = vec![0; message.len()];
    stream.read_exact(&mut back).await?;
    ensure!(back == message, "another message came back");
    Ok(())
}

pub(super) async fn connect_tcp(node: &Node) -> Result<(), CaseError> {
    let (address, pid) = node.echo_tcp().await?;
    echoes(node, &address, 5).await?;
    node.kill(pid).await
}

pub(super) async fn connect_unix(node: &Node) -> Result<(), CaseError> {
    let path = node.path("socket");
    let (_, pid) = node.echo(&format!("unix:{}", path.display())).await?;
    echoes(node, &Address::Unix(path), 6).await?;
    node.kill(pid).await
}

pub(super) async fn connect_abstract(node: &Node) -> Result<(), CaseError> {
    let name = node.token();
    let (_, pid) = node.echo(&format!("abstract:{name}")).await?;
    echoes(node, &Address::Abstract(name), 7).await?;
    node.kill(pid).await
}

pub(super) async fn connect_refusals(node: &Node) -> Result<(), CaseError> {
    let closed = Address::Tcp(([127, 0, 0, 1], 1).into());
    let missing = Address::Unix(PathBuf::from("/no/such/socket"));
    let nobody = Address::Abstract(node.token());
    for (address, errno) in [
        (closed, ECONNREFUSED),
        (missing, ENOENT),
        (nobody, ECONNREFUSED),
    ] {
        match node.transport.connect(&address, CONNECT_TIMEOUT).await {
            Err(TransportError::Refused { source, .. }) if source.raw_os_error() == Some(errno) => {
            }
            Err(other) => return Err(format!("{address:?} gave {other:?}").into()),
            Ok(_) => return Err(format!("{address:?} could be connected to").into()),
        }
    }
    Ok(())
}

pub(super) async fn connect_peer_that_dies(node: &Node) -> Result<(), CaseError> {
    let (address, pid) = node.echo_tcp().await?;
    let mut stream = node.transport.connect(&address, CONNECT_TIMEOUT).await?;
    ping(&mut stream, b"still there").await?;
    node.kill(pid).await?;
    let mut byte = [0];
    let end = tokio::time::timeout(CONNECT_TIMEOUT, stream.read(&mut byte)).await;
    match end {
        Ok(Ok(0) | Err(_)) => Ok(()),
        Ok(Ok(_)) => Err("a dead peer sent something".into()),
        Err(_) => Err("the end of a peer was not seen".into()),
    }
}

pub(super) async fn connect_slow_stream_blocks_nobody(node: &Node) -> Result<(), CaseError> {
    let (address, pid) = node.echo_tcp().await?;
    let slow = node.transport.connect(&address, CONNECT_TIMEOUT).await?;
    let mut quick = node.transport.connect(&address, CONNECT_TIMEOUT).await?;
    let (mut from, mut to) = tokio::io::split(slow);
    // Nobody reads what comes back, until everything on the way is full and writing stops.
    let piece = noise(8, 64 * 1024);
    let mut written = 0_usize;
    while let Ok(count) = tokio::time::timeout(STOPPED, to.write(&piece)).await {
        written += count?;
        ensure!(
            written < 256 * 1024 * 1024,
            "{written} bytes found room somewhere"
        );
    }
    let begun = Instant::now();
    for number in 0..100_u32 {
        ping(&mut quick, &number.to_le_bytes()).await?;
    }
    let output = node.exec(script("echo quick")).await?;
    ensure!(output.stdout == b"quick\n", "a command gave {output:?}");
    let took = begun.elapsed();
    ensure!(took < Duration::from_secs(3), "the others took {took:?}");
    // And what was held back is all still there.
    to.shutdown().await?;
    let mut rest = 0_usize;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        rest += count;
    }
    ensure!(rest == written, "{written} bytes came back as {rest}");
    node.kill(pid).await
}

pub(super) async fn connect_small_messages_never_wait(node: &Node) -> Result<(), CaseError> {
    let (address, pid) = node.echo_tcp().await?;
    let mut stream = node.transport.connect(&address, CONNECT_TIMEOUT).await?;
    for number in 0..PING_PONGS {
        let begun = Instant::now();
        ping(&mut stream, &[7; 100]).await?;
        let took = begun.elapsed();
        // A wake-up that got lost is found by the next ping of the link, seconds later.
        ensure!(took < STALL, "message {number} took {took:?}");
    }
    node.kill(pid).await
}

pub(super) async fn connect_many_at_once(node: &Node) -> Result<(), CaseError> {
    let (address, pid) = node.echo_tcp().await?;
    let all = (0..MANY).map(|seed| echoes(node, &address, 100 + seed));
    let mut running: Vec<_> = all.map(Box::pin).collect();
    // All of them make progress together; a join of a list without another dependency.
    std::future::poll_fn(|context| {
        let mut failed = None;
        running.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Pending => true,
            std::task::Poll::Ready(result) => {
                failed = failed.take().or(result.err());
                false
            }
        });
        match failed {
            Some(error) => std::task::Poll::Ready(Err(error)),
            None if running.is_empty() => std::task::Poll::Ready(Ok(())),
            None => std::task::Poll::Pending,
        }
    })
    .await?;
    node.kill(pid).await
}

pub(super) async fn clock_offset_is_sane(node: &Node) -> Result<(), CaseError> {
    let first = node.transport.clock_offset().await?;
    let second = node.transport.clock_offset().await?;
    for offset in [first, second] {
        ensure!(
            offset.bound_ns > 0 && offset.bound_ns < 500_000_000,
            "the bound is {} ns",
            offset.bound_ns
        );
    }
    let drift = first
        .monotonic_offset_ns
        .abs_diff(second.monotonic_offset_ns);
    // A millisecond for clocks that are slewed between the two.
    let allowed = first.bound_ns + second.bound_ns + 1_000_000;
    ensure!(
        drift <= allowed,
        "two measurements are {drift} ns apart and claim {allowed} ns at most"
    );
    Ok(())
}
