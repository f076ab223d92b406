//! Images: Debian root file systems with a system installed, from which nodes are made.
//!
//! ```text
//! images/bookworm-0f3a5c7d9e1b/rootfs       the lower layer of every node's overlay: never written to
//! images/bookworm-0f3a5c7d9e1b/image.json   recipe, full hash, versions of all packages
//! images/.building-…                        a build under way, or one that was killed
//! images/.lock-…                            held by the build of that name
//! ```
//!
//! Laws:
//! - an image is whole or absent: it is built under another name and renamed at the end;
//! - two builds of one recipe do not happen at once: the second waits, then finds the image;
//! - an image that a node uses is not removed.

mod debootstrap;
mod finish;
mod recipe;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use self::debootstrap::{KEYRINGS, keyring, script};
pub use self::{
    finish::INIT,
    recipe::{ImageSystem, MAX_EXTRA_PACKAGES, RECIPE_VERSION, Recipe, RecipeError, Suite},
};
use crate::{
    host::{self, HostError},
    state::{self, State, StateError},
};

/// How long a build waits for another one of the same recipe.
const WAIT_FOR_OTHER: Duration = Duration::from_secs(60 * 60);
/// Pause between two looks at whether it has ended.
const WAIT_POLL: Duration = Duration::from_millis(200);
/// Free space that a build needs, in bytes.
pub const BUILD_SPACE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Name of the description in an image's folder.
const META: &str = "image.json";

/// Why an image could not be made, found or removed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The recipe makes no sense.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The cache could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A tool is missing or did not work.
    #[error(transparent)]
    Tool(#[from] HostError),
    /// Packages could not be checked.
    #[error(
        "debian's keyring is not installed (mend: lab/install, or apt-get install debian-archive-keyring)"
    )]
    Keyring,
    /// Debootstrap does not know the suite.
    #[error(
        "debootstrap knows neither {suite} nor sid (mend: apt-get install debootstrap, a newer one)"
    )]
    Script {
        /// The suite that was asked for.
        suite: Suite,
    },
    /// The build failed.
    #[error(
        "the {suite} image could not be built; is the mirror reachable, and are all packages in {suite}?"
    )]
    Build {
        /// The suite that was asked for.
        suite: Suite,
        /// What debootstrap said.
        #[source]
        source: HostError,
    },
    /// Another build of the same recipe did not end.
    #[error("another process builds {name} for more than {} minutes; end it and try again", WAIT_FOR_OTHER.as_secs() / 60)]
    Waited {
        /// The image's name.
        name: String,
    },
    /// No such image.
    #[error("there is no image {name}; `harness lab image list` shows those that there are")]
    NotFound {
        /// The name that was asked for.
        name: String,
    },
    /// A node is made from it.
    #[error("image {name} is in use by a lab; take that down first: harness lab down")]
    InUse {
        /// The image's name.
        name: String,
    },
    /// Not enough space.
    #[error("{} has {free_mib} MiB free and an image needs {}; free some, or set {} to another disk", .folder.display(), BUILD_SPACE_BYTES >> 20, state::IMAGES_VARIABLE)]
    Space {
        /// Where images are.
        folder: PathBuf,
        /// What is free there, in MiB.
        free_mib: u64,
    },
}

/// How an image is built, as opposed to what goes into it.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Mirror to take packages from; debootstrap's own default if there is none.
    pub mirror: Option<String>,
}

/// Where a build is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Another process builds the same image.
    Wait,
    /// Packages are found and downloaded.
    #[default]
    Download,
    /// The first packages are laid out.
    Extract,
    /// All packages are laid out.
    Unpack,
    /// All packages are set up.
    Configure,
    /// Cleaning up.
    Finish,
}

/// One step of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where the build is.
    pub phase: Phase,
    /// Steps of the phase that are done.
    pub done: usize,
    /// Steps of the phase, where they are known.
    pub total: Option<usize>,
    /// What is under way, such as the name of a package.
    pub detail: String,
}

impl Progress {
    fn at(phase: Phase, detail: &str) -> Self {
        Self {
            phase,
            done: 0,
            total: None,
            detail: detail.to_owned(),
        }
    }
}

/// What is known about an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMeta {
    /// Version of this file's form.
    pub format_version: u32,
    /// What went in.
    pub recipe: Recipe,
    /// The recipe's hash in full.
    pub hash: String,
    /// When it was built, in milliseconds of the Unix epoch.
    pub built_unix_ms: u64,
    /// How long that took, in milliseconds.
    pub build_ms: u64,
    /// Space that it takes, in bytes.
    pub size_bytes: u64,
    /// All packages with their versions.
    pub packages: BTreeMap<String, String>,
}

/// An image in the cache.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name, such as `bookworm-0f3a5c7d9e1b`.
    pub name: String,
    /// Its root file system.
    pub rootfs: PathBuf,
    /// What is known about it.
    pub meta: ImageMeta,
}

/// The cache of images.
#[derive(Clone, Debug)]
pub struct ImageStore {
    folder: PathBuf,
}

impl ImageStore {
    /// The cache of a state folder.
    #[must_use]
    pub fn new(state: &State) -> Self {
        Self {
            folder: state.images().to_owned(),
        }
    }

    /// All whole images, by name.
    ///
    /// # Errors
    /// If the cache cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Ok(Vec::new());
        };
        let mut images = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                images.extend(self.load(&name)?);
            }
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    /// The image of a recipe, if it is cached.
    ///
    /// # Errors
    /// If its description cannot be read.
    pub fn find(&self, recipe: &Recipe) -> Result<Option<Image>, ImageError> {
        self.load(&recipe.name())
    }

    fn load(&self, name: &str) -> Result<Option<Image>, ImageError> {
        let folder = self.folder.join(name);
        let meta: Option<ImageMeta> = state::read_json(&folder.join(META))?;
        Ok(meta.map(|meta| Image {
            name: name.to_owned(),
            rootfs: folder.join("rootfs"),
            meta,
        }))
    }

    /// The image of a recipe; it is built if it is not cached. Blocks, for a minute or so.
    ///
    /// # Errors
    /// If it cannot be built; nothing is cached then.
    pub fn build(
        &self,
        recipe: &Recipe,
        options: &BuildOptions,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Image, ImageError> {
        if let Some(image) = self.find(recipe)? {
            return Ok(image);
        }
        state::make_folder(&self.folder, 0o755)?;
        let _lock = self.lock(&recipe.name(), progress)?;
        if let Some(image) = self.find(recipe)? {
            return Ok(image);
        }
        self.build_locked(recipe, options, progress)
    }

    fn build_locked(
        &self,
        recipe: &Recipe,
        options: &BuildOptions,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Image, ImageError> {
        self.check_space()?;
        let begun = Instant::now();
        let name = recipe.name();
        let building = self.folder.join(format!(".building-{name}"));
        // What a killed build left: its processes and mounts went with it.
        state::remove_folder(&building)?;
        state::make_folder(&building, 0o755)?;
        let rootfs = building.join("rootfs");
        if let Err(error) = debootstrap::run(recipe, options, &rootfs, progress) {
            state::remove_folder(&building)?;
            return Err(error);
        }
        progress(&Progress::at(Phase::Finish, "cleaning up"));
        finish::run(&rootfs, recipe.suite())?;
        let meta = ImageMeta {
            format_version: state::STATE_FORMAT_VERSION,
            recipe: recipe.clone(),
            hash: recipe.hash(),
            built_unix_ms: state::now_unix_ms(),
            build_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            size_bytes: size_bytes(&rootfs)?,
            packages: finish::packages(&rootfs)?,
        };
        state::write_json(&building.join(META), &meta)?;
        let folder = self.folder.join(&name);
        // A folder of this name without a description is none of ours to keep.
        state::remove_folder(&folder)?;
        fs::rename(&building, &folder).map_err(StateError::io("cannot rename", &building))?;
        Ok(Image {
            name,
            rootfs: folder.join("rootfs"),
            meta,
        })
    }

    /// Removes an image.
    ///
    /// # Errors
    /// If there is none of this name, or a node on this machine is made from it.
    pub fn remove(&self, name: &str) -> Result<(), ImageError> {
        let named = !name.starts_with('.') && !name.contains('/');
        if !named || self.load(name)?.is_none() {
            return Err(ImageError::NotFound {
                name: name.to_owned(),
            });
        }
        let _lock = self.lock(name, &mut |_| ())?;
        let folder = self.folder.join(name);
        if is_mounted(&folder.join("rootfs")) {
            return Err(ImageError::InUse {
                name: name.to_owned(),
            });
        }
        // Renamed first: a removal that is cut short must not leave half an image.
        let removing = self.folder.join(format!(".removing-{name}"));
        state::remove_folder(&removing)?;
        fs::rename(&folder, &removing).map_err(StateError::io("cannot rename", &folder))?;
        state::remove_folder(&removing)?;
        Ok(())
    }

    fn lock(&self, name: &str, progress: &mut dyn FnMut(&Progress)) -> Result<File, ImageError> {
        let path = self.folder.join(format!(".lock-{name}"));
        let file = File::create(&path).map_err(StateError::io("cannot open", &path))?;
        let begun = Instant::now();
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if begun.elapsed() > WAIT_FOR_OTHER {
                return Err(ImageError::Waited {
                    name: name.to_owned(),
                });
            }
            progress(&Progress::at(
                Phase::Wait,
                "another process builds the same image",
            ));
            std::thread::sleep(WAIT_POLL);
        }
        Ok(file)
    }

    fn check_space(&self) -> Result<(), ImageError> {
        let free = free_bytes(&self.folder);
        match free {
            Some(free) if free < BUILD_SPACE_BYTES => Err(ImageError::Space {
                folder: self.folder.clone(),
                free_mib: free >> 20,
            }),
            _ => Ok(()),
        }
    }
}

/// Space that is free at a path for us, in bytes; none if nobody knows.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn size_bytes(folder: &Path) -> Result<u64, HostError> {
    let path = folder.to_string_lossy();
    let text = host::run("du", &["-s", "-x", "-B1", path.as_ref()], host::QUICK)?;
    Ok(text
        .split_whitespace()
        .next()
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(0))
}

/// Whether any process on this machine has the folder as the lower layer of an overlay.
fn is_mounted(rootfs: &Path) -> bool {
    let needle = format!("lowerdir={}", rootfs.display());
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    processes.flatten().any(|entry| {
        fs::read_to_string(entry.path().join("mountinfo")).is_ok_and(|text| {
            let mut found = text.match_indices(&needle);
            found.any(|(at, _)| text[at + needle.len()..].starts_with([',', ':', '\n']))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_image_is_no_image() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        let store = ImageStore::new(&state);
        assert!(store.list().unwrap().is_empty());
        let recipe = Recipe::default();
        fs::create_dir_all(state.images().join(recipe.name()).join("rootfs")).unwrap();
        fs::create_dir_all(state.images().join(".building-x").join("rootfs")).unwrap();
        assert!(store.find(&recipe).unwrap().is_none());
        assert!(store.list().unwrap().is_empty());
        assert!(matches!(
            store.remove(&recipe.name()),
            Err(ImageError::NotFound { .. })
        ));
        assert!(matches!(
            store.remove("../x"),
            Err(ImageError::NotFound { .. })
        ));
    }

    #[test]
    fn an_image_with_its_description_is_found_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        let store = ImageStore::new(&state);
        let recipe = Recipe::default();
        let image = state.images().join(recipe.name());
        fs::create_dir_all(image.join("rootfs")).unwrap();
        let meta = ImageMeta {
            format_version: state::STATE_FORMAT_VERSION,
            hash: recipe.hash(),
            recipe: recipe.clone(),
            built_unix_ms: 1,
            build_ms: 2,
            size_bytes: 3,
            packages: BTreeMap::new(),
        };
        state::write_json(&image.join(META), &meta).unwrap();
        assert_eq!(store.find(&recipe).unwrap().unwrap().meta, meta);
        assert_eq!(store.list().unwrap().len(), 1);
        // Found in the cache: nothing is built, which would need root and a network.
        let mut steps = 0;
        store
            .build(&recipe, &BuildOptions::default(), &mut |_| steps += 1)
            .unwrap();
        assert_eq!(steps, 0);
        store.remove(&recipe.name()).unwrap();
        assert!(!image.exists());
    }
}
