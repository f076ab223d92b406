//! Our images on a server: sent once, found again by the property that names them.
//!
//! An image is one tarball of `metadata.yaml` and `rootfs/`, made by `tar` while it is sent: nothing of its size lies
//! on the controller's disk. To a server on this machine it goes as it is, over a network compressed, quickly.
//!
//! Laws:
//! - an image that is there is not sent again; it stays when a lab goes down, as our own images do;
//! - a tarball that is cut off is never a whole body: the server then refuses it.
//!
//! Source: LXD's documentation, "Image format".

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    task::{Context, Poll},
};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame};
use serde::Deserialize;
use serde_json::json;
use tokio::{io::AsyncReadExt as _, sync::mpsc};

use super::{LabError, ServerError, client::Client};
use crate::{
    host::{self, HostError},
    image::Image,
    state::{self, State},
};

/// The property that names one of our images on a server.
const PROPERTY: &str = "harness-image";
/// Version of what is made of an image for a server; a new one makes images be sent again.
const IMPORT_VERSION: u32 = 1;
/// How much of a tarball is sent at once, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// How many such pieces may wait to be sent.
const CHUNKS: usize = 8;
/// How much of what tar complains about is kept, in bytes.
const COMPLAINT_BYTES: u64 = 16 * 1024;

/// An image as a server lists it; only what is needed of it.
#[derive(Debug, Deserialize)]
struct Listed {
    fingerprint: String,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

/// The fingerprint of our image on the server, which is sent there unless the server has it. Calls `sending` before that.
pub(super) async fn ensure(
    client: &Client,
    state: &State,
    image: &Image,
    compress: bool,
    sending: impl FnOnce(),
) -> Result<String, LabError> {
    if let Some(fingerprint) = find(client, &image.name).await? {
        return Ok(fingerprint);
    }
    sending();
    let folder = state.root().join(format!(".import-{}", std::process::id()));
    let sent = send(client, &folder, image, compress).await;
    state::remove_folder(&folder)?;
    match sent {
        Ok(fingerprint) => Ok(fingerprint),
        // Another lab may have sent it meanwhile: then this one was refused.
        Err(error) => find(client, &image.name).await?.ok_or(error),
    }
}

fn property(name: &str) -> String {
    format!("{name}-v{IMPORT_VERSION}")
}

async fn find(client: &Client, name: &str) -> Result<Option<String>, ServerError> {
    let listed: Vec<Listed> = client.get("/1.0/images?recursion=1").await?;
    let wanted = property(name);
    let found = listed
        .into_iter()
        .find(|image| image.properties.get(PROPERTY) == Some(&wanted));
    Ok(found.map(|image| image.fingerprint))
}

async fn send(
    client: &Client,
    folder: &Path,
    image: &Image,
    compress: bool,
) -> Result<String, LabError> {
    state::make_folder(folder, 0o700)?;
    let metadata = metadata(image);
    state::write_atomic(&folder.join("metadata.yaml"), 0o644, metadata.as_bytes())?;
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let tar = tokio::spawn(tar(arguments(folder, &image.rootfs, compress), sender));
    let sent = client
        .upload("/1.0/images", Tarball { receiver }.boxed())
        .await;
    // A tar that failed is why the server got half a body.
    tar.await
        .map_err(|error| LabError::Panicked(error.to_string()))??;
    let answer = sent?;
    match answer
        .pointer("/metadata/fingerprint")
        .and_then(|f| f.as_str())
    {
        Some(fingerprint) => Ok(fingerprint.to_owned()),
        None => Err(ServerError::Answer {
            call: "POST /1.0/images".to_owned(),
            detail: "it named no fingerprint".to_owned(),
        }
        .into()),
    }
}

/// `metadata.yaml`, as JSON, which is YAML.
fn metadata(image: &Image) -> String {
    let meta = json!({
        "architecture": std::env::consts::ARCH,
        "creation_date": image.meta.built_unix_ms / 1000,
        "properties": {
            "description": format!("harness {}", image.meta.recipe),
            "os": "debian",
            "release": image.meta.recipe.suite().name(),
            PROPERTY: property(&image.name),
        },
    });
    format!("{meta}\n")
}

fn arguments(folder: &Path, rootfs: &Path, compress: bool) -> Vec<String> {
    let parent = rootfs.parent().unwrap_or(rootfs);
    let mut arguments: Vec<String> = [
        "--create",
        "--file=-",
        "--numeric-owner",
        "--xattrs",
        "--one-file-system",
        // The server gives a container devices of its own, and cannot make these everywhere.
        "--exclude=rootfs/dev/*",
    ]
    .map(str::to_owned)
    .into();
    if compress {
        arguments.push("--use-compress-program=gzip -1".to_owned());
    }
    let paths: [(PathBuf, &str); 2] = [(folder.into(), "metadata.yaml"), (parent.into(), "rootfs")];
    for (folder, name) in paths {
        arguments.extend([
            "-C".to_owned(),
            folder.to_string_lossy().into_owned(),
            name.to_owned(),
        ]);
    }
    arguments
}

/// Runs tar and passes on what it writes, then how it ended if not well.
async fn tar(
    arguments: Vec<String>,
    sender: mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), HostError> {
    let line = host::line("tar", &arguments);
    let start = |source| HostError::Start {
        command: line.clone(),
        source,
    };
    let mut command = tokio::process::Command::from(host::command("tar")?);
    let mut child = command
        .args(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let mut complaint = Vec::new();
    let mut passed_on = true;
    if let (Some(mut output), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
        let pass_on = async {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                match output.read(&mut chunk).await {
                    Ok(0) => return true,
                    Ok(bytes) => {
                        chunk.truncate(bytes);
                        if sender.send(Ok(chunk.into())).await.is_err() {
                            // The server has hung up: it says why itself.
                            return false;
                        }
                    }
                    Err(_) => return false,
                }
            }
        };
        let mut errors = errors.take(COMPLAINT_BYTES);
        (passed_on, _) = tokio::join!(pass_on, errors.read_to_end(&mut complaint));
    }
    if !passed_on {
        return Ok(());
    }
    let status = child.wait().await.map_err(start)?;
    if status.success() {
        return Ok(());
    }
    // An end without an error would make half a tarball look whole.
    let _ = sender.send(Err(io::Error::other("tar failed"))).await;
    Err(host::failed(
        &line,
        status.code(),
        "",
        &String::from_utf8_lossy(&complaint),
    ))
}

/// What tar writes, as the body of a request.
struct Tarball {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
}

impl Body for Tarball {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.receiver
            .poll_recv(context)
            .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}
