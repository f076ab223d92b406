//! What goes into an image, and the hash that names it.
//!
//! Laws:
//! - two recipes with the same hash make interchangeable images, and a change of what this crate
//!   puts into an image changes every hash ([`RECIPE_VERSION`]);
//! - the mirror is not part of it: it says where packages come from, not which;
//! - names of packages are checked here, because they become arguments of a program run by root.
//!
//! Package names per suite were read from the archive (bookworm, trixie and forky: `go-dqlite`
//! holds the programs `dqlite` and `dqlite-demo`; forky has no LXD).

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Raised whenever an image of the same recipe is made differently.
pub const RECIPE_VERSION: u32 = 1;
/// Characters of the hash that go into an image's name.
const NAME_HASH_CHARS: usize = 12;
/// Most extra packages of a recipe.
pub const MAX_EXTRA_PACKAGES: usize = 200;
/// What every node needs: the way in, the partition tool, and what observes.
const BASE_PACKAGES: [&str; 4] = ["openssh-server", "nftables", "iproute2", "procps"];

/// Why a recipe cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// No such suite.
    #[error("unknown suite `{0}`; there are {known}", known = names(&Suite::ALL))]
    Suite(String),
    /// No such system.
    #[error("unknown system `{0}` for an image; there are {known}", known = names(&ImageSystem::ALL))]
    System(String),
    /// The suite lacks the system.
    #[error("{suite} has no package of {system}; take {others}")]
    NotInSuite {
        /// The suite that was asked for.
        suite: Suite,
        /// The system that it lacks.
        system: ImageSystem,
        /// Suites that have it.
        others: String,
    },
    /// Not the name of a package.
    #[error("`{0}` is not the name of a Debian package")]
    Package(String),
    /// Too many extra packages.
    #[error("{0} extra packages are more than {MAX_EXTRA_PACKAGES}")]
    TooMany(usize),
}

fn names<T: fmt::Display>(all: &[T]) -> String {
    all.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A release of Debian.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Suite {
    /// Debian 12.
    #[default]
    Bookworm,
    /// Debian 13.
    Trixie,
    /// Debian 14, still moving.
    Forky,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Forky];

    /// Its name in the archive.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = RecipeError;

    fn from_str(text: &str) -> Result<Self, RecipeError> {
        let found = Self::ALL.into_iter().find(|suite| suite.name() == text);
        found.ok_or_else(|| RecipeError::Suite(text.to_owned()))
    }
}

/// A system that an image can hold, from the suite's packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSystem {
    /// `dqlite-demo` and the `dqlite` shell.
    Dqlite,
    /// The LXD daemon and client, and `sqlite3` to look into its databases.
    Lxd,
}

impl ImageSystem {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Dqlite, Self::Lxd];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dqlite => "dqlite",
            Self::Lxd => "lxd",
        }
    }

    /// The suite's packages that hold it; none if the suite has none.
    #[must_use]
    pub fn packages(self, suite: Suite) -> Option<&'static [&'static str]> {
        match (self, suite) {
            (Self::Dqlite, _) => Some(&["go-dqlite"]),
            (Self::Lxd, Suite::Forky) => None,
            (Self::Lxd, _) => Some(&["lxd", "lxd-client", "sqlite3"]),
        }
    }
}

impl fmt::Display for ImageSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ImageSystem {
    type Err = RecipeError;

    fn from_str(text: &str) -> Result<Self, RecipeError> {
        let found = Self::ALL.into_iter().find(|system| system.name() == text);
        found.ok_or_else(|| RecipeError::System(text.to_owned()))
    }
}

/// What goes into an image. Every value of this type can be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawRecipe", into = "RawRecipe")]
pub struct Recipe {
    suite: Suite,
    systems: BTreeSet<ImageSystem>,
    extra: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecipe {
    suite: Suite,
    #[serde(rename = "with")]
    systems: BTreeSet<ImageSystem>,
    #[serde(default)]
    packages: BTreeSet<String>,
}

impl Recipe {
    /// A recipe of a suite, systems, and further packages by name.
    ///
    /// # Errors
    /// If the suite lacks a system, or a name is not one of a package.
    pub fn new(
        suite: Suite,
        systems: impl IntoIterator<Item = ImageSystem>,
        extra: impl IntoIterator<Item = String>,
    ) -> Result<Self, RecipeError> {
        let recipe = Self {
            suite,
            systems: systems.into_iter().collect(),
            extra: extra.into_iter().collect(),
        };
        for system in &recipe.systems {
            if system.packages(suite).is_none() {
                let having = Suite::ALL
                    .into_iter()
                    .filter(|other| system.packages(*other).is_some());
                let others = having.map(Suite::name).collect::<Vec<_>>().join(" or ");
                return Err(RecipeError::NotInSuite {
                    suite,
                    system: *system,
                    others,
                });
            }
        }
        if recipe.extra.len() > MAX_EXTRA_PACKAGES {
            return Err(RecipeError::TooMany(recipe.extra.len()));
        }
        match recipe.extra.iter().find(|name| !is_package_name(name)) {
            Some(bad) => Err(RecipeError::Package(bad.clone())),
            None => Ok(recipe),
        }
    }

    /// The same systems and packages on another suite.
    ///
    /// # Errors
    /// If that suite lacks one of the systems.
    pub fn on_suite(&self, suite: Suite) -> Result<Self, RecipeError> {
        Self::new(suite, self.systems.clone(), self.extra.clone())
    }

    /// The same with this system too.
    ///
    /// # Errors
    /// If the suite lacks it.
    pub fn with_system(&self, system: ImageSystem) -> Result<Self, RecipeError> {
        let mut systems = self.systems.clone();
        systems.insert(system);
        Self::new(self.suite, systems, self.extra.clone())
    }

    /// Its suite.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Its systems.
    #[must_use]
    pub fn systems(&self) -> &BTreeSet<ImageSystem> {
        &self.systems
    }

    /// All packages on top of the suite's minimal base, sorted.
    #[must_use]
    pub fn packages(&self) -> BTreeSet<&str> {
        let of_systems = self
            .systems
            .iter()
            .filter_map(|system| system.packages(self.suite));
        BASE_PACKAGES
            .into_iter()
            .chain(of_systems.flatten().copied())
            .chain(self.extra.iter().map(String::as_str))
            .collect()
    }

    /// SHA-256 over the canonical text of the recipe, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut text = format!("harness image {RECIPE_VERSION}\nsuite {}\n", self.suite);
        for system in &self.systems {
            text.push_str(&format!("with {system}\n"));
        }
        for package in self.packages() {
            text.push_str(&format!("package {package}\n"));
        }
        Sha256::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The image's name: the suite and the beginning of the hash, such as `bookworm-0f3a…`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.suite, &self.hash()[..NAME_HASH_CHARS])
    }
}

impl Default for Recipe {
    /// Bookworm with dqlite.
    fn default() -> Self {
        Self {
            suite: Suite::default(),
            systems: BTreeSet::from([ImageSystem::Dqlite]),
            extra: BTreeSet::new(),
        }
    }
}

impl TryFrom<RawRecipe> for Recipe {
    type Error = RecipeError;

    fn try_from(raw: RawRecipe) -> Result<Self, RecipeError> {
        Self::new(raw.suite, raw.systems, raw.packages)
    }
}

impl From<Recipe> for RawRecipe {
    fn from(recipe: Recipe) -> Self {
        Self {
            suite: recipe.suite,
            systems: recipe.systems,
            packages: recipe.extra,
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.suite)?;
        for system in &self.systems {
            write!(f, "+{system}")?;
        }
        for package in &self.extra {
            write!(f, "+{package}")?;
        }
        Ok(())
    }
}

/// As Debian's policy has it: two characters or more, lower case, digits, `+`, `-` and `.`, not a sign first.
fn is_package_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() >= 2
        && name.len() <= 100
        && name.starts_with(plain)
        && name
            .chars()
            .all(|c| plain(c) || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(
        suite: Suite,
        systems: &[ImageSystem],
        extra: &[&str],
    ) -> Result<Recipe, RecipeError> {
        let extra = extra.iter().map(|name| (*name).to_owned());
        Recipe::new(suite, systems.iter().copied(), extra)
    }

    #[test]
    fn another_suite_keeps_systems_and_packages() {
        use ImageSystem::{Dqlite, Lxd};
        let base = recipe(Suite::Bookworm, &[Dqlite], &["strace"]).unwrap();
        let with_lxd = base.with_system(Lxd).unwrap();
        assert_eq!(
            Ok(&with_lxd),
            recipe(Suite::Bookworm, &[Dqlite, Lxd], &["strace"]).as_ref()
        );
        assert_eq!(with_lxd.with_system(Lxd).as_ref(), Ok(&with_lxd));
        assert_eq!(
            with_lxd.on_suite(Suite::Trixie),
            recipe(Suite::Trixie, &[Dqlite, Lxd], &["strace"])
        );
        for lacking in [
            with_lxd.on_suite(Suite::Forky),
            base.on_suite(Suite::Forky).unwrap().with_system(Lxd),
        ] {
            assert!(matches!(lacking, Err(RecipeError::NotInSuite { .. })));
        }
    }

    #[test]
    fn a_hash_depends_on_what_goes_in_and_on_nothing_else() {
        use ImageSystem::{Dqlite, Lxd};
        let base = recipe(Suite::Bookworm, &[Dqlite], &[]).unwrap();
        assert_eq!(base, Recipe::default());
        // If this changes on purpose, every cached image is built again: raise RECIPE_VERSION instead
        // when only the way of building changed.
        assert_eq!(base.name(), "bookworm-16109004a7ae");
        let same = [
            recipe(Suite::Bookworm, &[Dqlite, Dqlite], &[]),
            recipe(Suite::Bookworm, &[Dqlite], &["procps"]),
        ];
        for same in same {
            assert_eq!(same.unwrap().hash(), base.hash());
        }
        let other = [
            recipe(Suite::Trixie, &[Dqlite], &[]),
            recipe(Suite::Bookworm, &[], &[]),
            recipe(Suite::Bookworm, &[], &["go-dqlite"]),
            recipe(Suite::Bookworm, &[Dqlite, Lxd], &[]),
            recipe(Suite::Bookworm, &[Dqlite], &["strace"]),
        ];
        let mut seen = BTreeSet::from([base.hash()]);
        for other in other {
            assert!(seen.insert(other.unwrap().hash()));
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused_with_what_can() {
        let table = [
            (
                recipe(Suite::Forky, &[ImageSystem::Lxd], &[]),
                "forky has no package of lxd; take bookworm or trixie",
            ),
            (
                recipe(Suite::Forky, &[], &["-o"]),
                "`-o` is not the name of a Debian package",
            ),
            (
                recipe(Suite::Forky, &[], &["a,b"]),
                "`a,b` is not the name of a Debian package",
            ),
            (
                "sid".parse::<Suite>().map(|_| Recipe::default()),
                "unknown suite `sid`; there are bookworm, trixie, forky",
            ),
            (
                "etcd".parse::<ImageSystem>().map(|_| Recipe::default()),
                "unknown system `etcd` for an image; there are dqlite, lxd",
            ),
        ];
        for (result, message) in table {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_recipe_is_stored_and_read_back() {
        let stored = serde_json::to_string(&Recipe::default()).unwrap();
        assert_eq!(
            stored,
            r#"{"suite":"bookworm","with":["dqlite"],"packages":[]}"#
        );
        assert_eq!(
            serde_json::from_str::<Recipe>(&stored).unwrap(),
            Recipe::default()
        );
        let bad = r#"{"suite":"forky","with":["lxd"],"packages":[]}"#;
        assert!(serde_json::from_str::<Recipe>(bad).is_err());
    }
}
